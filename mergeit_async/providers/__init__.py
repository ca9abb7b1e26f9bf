"""Requests and texts come in; replies, vectors or one error type go out. The only client code."""
