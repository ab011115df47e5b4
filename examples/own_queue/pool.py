"""The pool of RRQ: its orchestrator, a program in Rust, is the parent; its runners are the workers."""

import os
import sys
from pathlib import Path

from harness_worker import settings, worker
from rrq.registry import Registry
from rrq.runner_settings import PythonRunnerSettings

CONFIG = """
[rrq]
redis_dsn = "{redis}"
default_runner_name = "python"
runners.python = {{ type = "socket", cmd = ["{programs}/rrq-runner", "--settings", "pool.runner"], {sizes} }}
"""


async def numbered(request):
    """Run one task of the harness."""
    async with worker.run(request.params["task"], activity=request.job_id, attempt=request.context.attempt):
        pass


runner = PythonRunnerSettings(registry=Registry())
runner.registry.register("numbered", numbered)

if __name__ == "__main__":
    programs, port = Path(sys.executable).parent, 20000 + os.getpid() % 10000
    sizes = f"tcp_port = {port}, pool_size = {settings.workers}, max_in_flight = {settings.concurrency}"
    config = Path(f"rrq-{os.getpid()}.toml")
    config.write_text(CONFIG.format(redis=settings.redis_url, programs=programs, sizes=sizes), "utf-8")
    os.execv(programs / "rrq", ["rrq", "worker", "run", "--config", str(config), "--queue", settings.queue])  # noqa: S606
else:  # a runner has imported this module
    worker.hello()
