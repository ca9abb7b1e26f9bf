"""Stage 2, pure: a group's rows and a model's reply come in; a merge or a refusal goes out."""
