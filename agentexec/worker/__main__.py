"""`python -m agentexec.worker OPTIONS`: one worker process, with its options as JSON. A pool starts it otherwise."""

from __future__ import annotations

import json
import sys

from agentexec.worker.process import end_with

if __name__ == "__main__":
    end_with(json.loads(sys.argv[1]))
