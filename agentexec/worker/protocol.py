"""What a pool may tell a worker process through its standard input, and what it first hears of it, a line each."""

from __future__ import annotations

DRAIN = "drain"
NOW = "now"
READY = b"ready\n"
LEAVING = b"leaving\n"  # it claims nothing more and ends when its tasks have: its place is free
