"""Benchmarks of agentexec, each compared with its floor: the same Redis commands and SQL without a framework.

`python -m loadtests.bench` runs all of them; `harness report compare A B` compares two of its JSON files.
"""

from __future__ import annotations

__all__: list[str] = []
