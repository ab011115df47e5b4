"""`python -m agentexec.worker`: a worker process; pools start these, people do not."""

from __future__ import annotations

from agentexec.core import runtime
from agentexec.worker.process import main

if __name__ == "__main__":
    # Without waiting for a handler's thread that still runs: its lease has been given away.
    runtime.current().end_process(main())
