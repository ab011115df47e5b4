"""One process for each worker of streaq, and a new one for each that ends."""

import sys

from harness_worker import pool

pool.run([sys.executable, "-m", "streaq", "run", "tasks:streaq"])
