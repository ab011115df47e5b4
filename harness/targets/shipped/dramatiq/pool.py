"""The pool of Dramatiq: its own command, which ends if one of its workers dies; a supervisor then starts it again."""

import sys

from harness_worker import pool, settings

numbers = {"--processes": settings.workers, "--threads": settings.concurrency}
timeout = ["--worker-shutdown-timeout", str(int(settings.graceful * 1000))]
options = [word for name, value in numbers.items() for word in (name, str(value))]
pool.run([sys.executable, "-m", "dramatiq", "tasks", *options, *timeout], count=1)
