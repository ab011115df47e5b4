"""Targets: the systems under test, and what a target needs to start pools and read its state."""
