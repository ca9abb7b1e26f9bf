"""Values of arms on the same groups come in; effects, their intervals and verdicts go out."""
