"""`python -m agentexec.worker`: one worker process, started by its pool."""

from __future__ import annotations

from agentexec.core import runtime
from agentexec.worker.process import main

if __name__ == "__main__":
    # Do not wait for the thread of a handler that still runs: its lease is released.
    runtime.current().end_process(main())
