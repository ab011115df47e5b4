"""DBOS runs in the process of the application: the number and restarts of processes are left to a supervisor."""

import sys
from pathlib import Path

from harness_worker import pool

pool.run([sys.executable, str(Path(__file__).with_name("workflows.py"))])
