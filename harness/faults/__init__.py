"""Faults that a chaos run injects into processes and servers and heals again."""
