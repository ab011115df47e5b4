"""arq has one process per worker: its documentation leaves their number and restarts to a supervisor."""

import sys
from pathlib import Path

from harness_worker import pool

pool.run([sys.executable, str(Path(__file__).with_name("jobs.py"))])
