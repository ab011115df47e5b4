"""Benchmarks of agentexec, compared with the least work that keeps its promise, without a framework.

`python -m loadtests.bench` runs all of them; `harness report compare A B` compares two of its JSON files.
"""

from __future__ import annotations

__all__: list[str] = []
