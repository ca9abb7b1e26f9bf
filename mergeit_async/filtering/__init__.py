"""Stage 1, pure: vectors of rows come in; topics, the rows kept, and groups to merge go out."""
