"""Stage 2, pure: rows of a group and a model's reply come in; a checked merge or a refusal goes out."""
