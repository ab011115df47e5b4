"""One process for each worker of SAQ, and a new one for each that ends."""

import sys
from pathlib import Path

from harness_worker import pool

pool.run([sys.executable, str(Path(__file__).with_name("jobs.py"))])
