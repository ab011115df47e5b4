"""The queue: its protocol, and the implementation in Redis."""
