"""A small adapter for tests: a queue in a folder of files, with a fault that the profile chooses."""

from __future__ import annotations

from pathlib import Path

POOL = """
import json, os, pathlib, signal, subprocess, sys, time
from harness_worker import settings, worker

jobs = pathlib.Path(settings.history).parent / "jobs"

def take():
    for job in sorted(jobs.glob("*.ready")):
        mine = job.with_suffix(".running")
        try:
            job.rename(mine)
        except FileNotFoundError:
            continue
        return mine
    time.sleep(0.01)

def work():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    worker.hello()
    while os.getppid() != 1:
        job = take()
        if job:
            with worker.run(json.loads(job.read_text()), activity=job.stem):
                job.rename(job.with_suffix(".done"))

def supervise():
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    start = lambda: subprocess.Popen([sys.executable, __file__, "work"])
    children = [start() for _ in range(settings.workers)]
    while not stop:
        for place, child in enumerate(children):
            if child.poll() is not None:
                for job in jobs.glob("*.running"):
                    job.rename(job.with_suffix(".ready"))
                children[place] = start()
        time.sleep(0.02)
    for child in children:
        child.terminate()
    for child in children:
        child.wait()

jobs.mkdir(exist_ok=True)
work() if "work" in sys.argv else supervise()
"""

CLIENT = """
import json, os, pathlib, sys, time
from harness_worker import client, settings

jobs = pathlib.Path(settings.history).parent / "jobs"

class Files:
    version = "7"

    def __init__(self):
        self.numbers = {}

    def prepare(self):
        jobs.mkdir(exist_ok=True)

    def submit(self, task):
        if settings.profile == "dies":
            os._exit(7)
        if settings.profile == "hangs":
            time.sleep(600)
        if settings.profile == "talks":
            os.write(3, b"hello\\n")
            time.sleep(600)
        if settings.profile == "refuses":
            raise client.TaskRefused("no")
        activity = f"job-{task['number']:04}"
        self.numbers[activity] = task["number"]
        (jobs / activity).write_text(json.dumps(task))
        (jobs / activity).rename(jobs / f"{activity}.ready")
        return activity

    def unfinished(self):
        if settings.profile == "counts":
            return -1
        return len(list(jobs.glob("*.ready"))) + len(list(jobs.glob("*.running")))

    def evidence(self):
        words = {True: "complete", False: "queued"} if settings.profile != "words" else {True: "done", False: "new"}
        for activity, number in self.numbers.items():
            yield client.record(number, activity, words[(jobs / f"{activity}.done").exists()])
        yield client.queue(ready=len(list(jobs.glob("*.ready"))), leased=len(list(jobs.glob("*.running"))))

if settings.profile == "talks":
    os.dup2(1, 3)
client.serve(Files())
"""

PROFILES = ("dies", "hangs", "talks", "refuses", "counts", "words")


def write_small_adapter(folder: Path) -> Path:
    """Write the adapter into a folder and return the path of its adapter.toml."""
    folder.mkdir(exist_ok=True)
    (folder / "pool.py").write_text(POOL, "utf-8")
    (folder / "client.py").write_text(CLIENT, "utf-8")
    file = folder / "adapter.toml"
    lines = ['name = "files"', 'pool = ["{python}", "{folder}/pool.py"]']
    lines += ['client = ["{python}", "{folder}/client.py"]']
    lines += [f'[profiles.{name}.settings]\nfault = "{name}"' for name in PROFILES]
    file.write_text("\n".join(lines), "utf-8")
    return file
