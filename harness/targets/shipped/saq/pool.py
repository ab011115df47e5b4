"""SAQ has one process per worker here; `saq --workers N` starts the same without restarting dead ones."""

import sys
from pathlib import Path

from harness_worker import pool

pool.run([sys.executable, str(Path(__file__).with_name("jobs.py"))])
