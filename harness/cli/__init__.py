"""The `harness` command line, one module per command."""

from __future__ import annotations

from harness.cli.main import agentexec_main, main

__all__ = ["agentexec_main", "main"]
