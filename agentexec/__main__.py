"""`python -m agentexec`, the `agentexec` command."""

from __future__ import annotations

import sys

from agentexec.cli import main

if __name__ == "__main__":
    sys.exit(main())
