"""Prompt versions on disk come in; messages ready to send go out."""
