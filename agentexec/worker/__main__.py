"""`python -m agentexec.worker`: a worker process; pools start these, people do not."""

from __future__ import annotations

from agentexec.worker.process import end_process, main

if __name__ == "__main__":
    end_process(main())
