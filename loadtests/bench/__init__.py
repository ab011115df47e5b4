"""Benchmarks of agentexec, each beside its floor: the same Redis commands and SQL rows without a framework.

`python -m loadtests.bench` runs all of them; `harness report compare A B` compares two of its JSON files.
"""

from __future__ import annotations

__all__: list[str] = []
