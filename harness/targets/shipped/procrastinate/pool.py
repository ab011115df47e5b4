"""Procrastinate has one process per worker: their number and restarts are left to a supervisor."""

import sys
from pathlib import Path

from harness_worker import pool

pool.run([sys.executable, str(Path(__file__).with_name("tasks.py"))])
