"""What a run is doing comes in; a terminal display or log lines go out."""
