"""A small application with a locustfile, for the tests of load under Locust."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.load.task_log import ENV_FOLDER, counted

APP = """
import asyncio
from uuid import UUID
from pydantic import BaseModel
import agentexec as ax

class Question(BaseModel):
    seconds: float = 0.0
    wrong: bool = False
    asks: bool = False

pool = ax.Pool()

@pool.task("answer")
async def answer(agent_id: UUID, context: Question) -> Question:
    await asyncio.sleep(context.seconds)
    if context.asks:
        import openai
        labels = {"X-Activity-Id": str(agent_id), "X-Activity-Step": "1"}
        tokens = {"X-Simulated-Prompt-Tokens": "100", "X-Simulated-Completion-Tokens": "10"}
        async with openai.AsyncOpenAI() as client:
            await client.responses.create(model="m", input="Why?", extra_headers=labels | tokens)
    if context.wrong:
        raise ValueError("wrong on purpose")
    return context
"""

LOCUSTFILE = """
from locust import constant, tag, task
from play_app import Question
import agentexec as ax
from harness.load import OpenShape, QueueUser, hold

class Chat(QueueUser):
    wait_time = constant(0.05)

    @tag("quick")
    @task(3)
    def ask(self):
        assert self.arrival is None or self.arrival.number >= 0
        self.enqueue("answer", Question(), priority=ax.Priority.HIGH)

    @tag("slow")
    @task
    def ask_slowly(self):
        self.enqueue("answer", Question(seconds=1.5))

    @tag("wrong")
    @task
    def ask_wrongly(self):
        self.enqueue("answer", Question(wrong=True))

    @tag("asking")
    @task
    def ask_a_model(self):
        self.enqueue("answer", Question(asks=True))
"""

SHAPES = """
class Second(OpenShape):
    pacing = "even"
    stages = hold(20, "1s")

class Long(OpenShape):
    pacing = "even"
    stages = hold(20, "6s")

class Soak(OpenShape):
    pacing = "even"
    stages = hold(20)

thresholds = {"TASK answer": "p99 < 60s, rate > 0.99", "LATE": "dropped = 0"}
"""

BILLED = """
class Billed(OpenShape):
    pacing = "even"
    stages = hold(20, "1s")

thresholds = {"ALL": "tokens = 2200, tokens_again = 0, cost < 0.0023 USD"}
"""

STOPS = """
class Stops(OpenShape):
    pacing = "even"
    stages = hold(20, "4s")

thresholds = {
    "TASK answer": "p75 < 1s", "ENQUEUE answer": "p75 < 1s",
    "WAIT answer": "p75 < 1s, max < 1s", "RUN answer": "p75 < 1s",
}
"""


@dataclass(frozen=True)
class Running:
    """A Locust process in its own folder."""

    process: subprocess.Popen[bytes]
    folder: Path

    def end(self) -> tuple[int, str]:
        """Its exit code and its output."""
        code = self.process.wait(timeout=100)
        return code, (self.folder / "output").read_text("utf-8")

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def acknowledged(self) -> int:
        """How many tasks were acknowledged so far, or -1 if the process has ended."""
        return counted(self.folder / "history", "enqueue") if self.process.poll() is None else -1

    def stopped(self) -> bool:
        """Whether the load has ended, and its tasks are waited for."""
        files = (self.folder / "history").glob("load-*.jsonl")
        return any(b'"phase":"stop"' in file.read_bytes() for file in files)

    @property
    def verdict(self) -> dict[str, Any]:
        """Its verdict.json."""
        document: dict[str, Any] = json.loads((self.folder / "report" / "verdict.json").read_text("utf-8"))
        return document


def write_application(folder: Path) -> Path:
    """Write the application and its locustfiles; returns the folder."""
    (folder / "play_app.py").write_text(APP, "utf-8")
    (folder / "locustfile.py").write_text(LOCUSTFILE + SHAPES, "utf-8")
    (folder / "billed.py").write_text(LOCUSTFILE + BILLED, "utf-8")
    (folder / "stops.py").write_text(LOCUSTFILE + STOPS, "utf-8")
    (folder / "closed.py").write_text(LOCUSTFILE, "utf-8")
    return folder


def start_locust(
    application: Path, folder: Path, variables: Mapping[str, str], options: Sequence[str]
) -> Running:
    """Start Locust on the application in a new folder, which gets its report and its log of tasks.

    The folder has a `.env` file, as that of an application has.
    """
    (folder / "history").mkdir(parents=True)
    (folder / ".env").write_text("DATABASE_URL=postgresql://127.0.0.1:1/own\nREDIS_URL=redis://127.0.0.1:1\n")
    command = [sys.executable, "-m", "locust", "--load-report", "report", "--load-lateness", "30"]
    if "-f" not in options:
        command += ["-f", str(application / "locustfile.py")]
    if "--web-port" not in options:
        command += ["--headless", "--only-summary"]
    command += options
    path = os.pathsep.join([str(application), *(entry or str(Path.cwd()) for entry in sys.path)])
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**variables, "PYTHONPATH": path, ENV_FOLDER: str(folder / "history")},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return Running(process, folder)
