"""The `harness` command line, one module per command."""

from __future__ import annotations

from harness.cli.main import main

__all__ = ["main"]
