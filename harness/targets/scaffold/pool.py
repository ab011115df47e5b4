"""The pool of NAME: a parent that starts workers, replaces dead ones, and ends after SIGTERM.

Replace it by the system's own worker command, if each of its worker processes can call `worker.hello()`.
"""

import json
import signal
import subprocess
import sys
import time

import redis
from harness_worker import settings, worker

server = redis.Redis.from_url(settings.redis_url)
queue = settings.queue


def handle(activity):
    """Run one task. `worker.run` records the run and waits at the gate of the task; it has to be around the body."""
    task = json.loads(server.hget(queue + ":tasks", activity))
    with worker.run(task, activity=activity):
        pass  # a handler of your own goes here
    server.hset(queue + ":done", activity, "complete")


def work(name):
    """One worker process: take tasks until SIGTERM, and finish the one that runs."""
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    worker.hello()
    while not stop:
        activity = server.blmove(queue + ":ready", queue + ":running:" + name, timeout=1)
        if activity:
            handle(activity.decode())
            server.lrem(queue + ":running:" + name, 1, activity)


def supervise():
    """The parent process: keep the workers alive until SIGTERM, and return the tasks of dead ones."""
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    workers = {str(place): None for place in range(settings.workers)}
    while not stop:
        for name, process in workers.items():
            if process is None or process.poll() is not None:
                while server.lmove(queue + ":running:" + name, queue + ":ready", "RIGHT", "LEFT"):
                    pass
                workers[name] = subprocess.Popen([sys.executable, __file__, name])
        time.sleep(0.05)
    for process in workers.values():
        process.terminate()
    for process in workers.values():
        process.wait()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(sys.argv[1])
    else:
        supervise()
