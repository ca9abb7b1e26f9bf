"""Files and rows: a dataset's records come in, usable rows and rejects go out; results go back."""
