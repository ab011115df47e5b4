"""Speed of agentexec beside other Python queues, on the same servers and in the same run.

`python -m loadtests.peers` measures them in turn; `harness report compare A B` compares two of its JSON files.
"""

from __future__ import annotations

__all__: list[str] = []
