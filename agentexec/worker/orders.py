"""What a pool may tell a worker process through its standard input, a line each."""

from __future__ import annotations

DRAIN = "drain"
NOW = "now"
