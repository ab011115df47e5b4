"""`python -m agentexec.worker`: a worker process; pools start these, people do not."""

from __future__ import annotations

import logging
import os
import sys

from agentexec.worker.process import main

if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(
        code
    )  # a handler that still blocks a thread must not keep the process alive: its lease is given away
