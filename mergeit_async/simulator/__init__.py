"""An OpenAI-compatible server on loopback: requests come in, replies and planned faults go out."""
