"""An adapter as a target: processes in their own environment, and errors of the adapter that accuse no queue."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harness.environments.base import Endpoints
from harness.errors import TargetFailed, UsageError
from harness.gate import GateKeeper
from harness.history import History
from harness.processes import is_alive, send
from harness.targets import adapter_client
from harness.targets.adapter import AdapterSession, adapter
from harness.targets.adapter_client import AdapterClient
from harness.targets.base import TargetSettings, TaskSpec
from tests.support.small_adapter import write_small_adapter

ENDPOINTS = Endpoints(database_url="postgresql+psycopg://u:secret@h/d", redis_url="redis://h")

Open = Callable[..., AdapterSession]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    # Not tmp_path: its names grow past what a Unix socket may be called.
    with tempfile.TemporaryDirectory(prefix="hx-") as folder:
        yield Path(folder)


@pytest.fixture
def settings(short_folder: Path) -> TargetSettings:
    history = short_folder / "history"
    history.mkdir()
    return TargetSettings(
        queue="q", folder=short_folder, history=history, gate_address=f"{short_folder}/gate", workers=2
    )


@pytest.fixture
def start(settings: TargetSettings, tmp_path: Path) -> Iterator[Open]:
    opened: list[AdapterSession] = []

    def start(profile: str = "", replace: tuple[str, str] = ("", "")) -> AdapterSession:
        file = write_small_adapter(tmp_path / "files")
        file.write_text(file.read_text("utf-8").replace(*replace), "utf-8")
        opened.append(adapter(f"{file}@{profile}" if profile else str(file)).open(ENDPOINTS, settings))
        return opened[-1]

    yield start
    for session in opened:
        session.kill()


def tasks(count: int, gate: str | None = None) -> list[TaskSpec]:
    return [TaskSpec(number=number, gate=gate) for number in range(1, count + 1)]


def test_tasks_run_and_the_evidence_says_so(start: Open, settings: TargetSettings) -> None:
    session = start()
    pool = session.start_pool()
    try:
        found = session.submit(tasks(5))
        assert [one.activity for one in found] == [f"job-{number:04}" for number in range(1, 6)]
        while session.unfinished():
            continue
        *records, queue = session.witnesses()
    finally:
        os.kill(pool.pid, signal.SIGTERM)
    assert pool.wait(20) == 0
    assert {op.value["status"] for op in records} == {"complete"}
    assert (records[0].process, queue.process, queue.value["ready"]) == ("postgres", "redis", 0)
    assert len(pool.worker_pids()) == 0
    history = History.load(settings.history)
    assert {op.value["task"] for op in history.where("run")} == {1, 2, 3, 4, 5}


def test_a_worker_is_killed_at_its_gate_and_its_task_runs_again(
    start: Open, settings: TargetSettings
) -> None:
    session = start()
    with GateKeeper(Path(settings.gate_address)) as gates:
        pool = session.start_pool()
        session.submit(tasks(1, gate="g"))
        [arrival] = gates.wait_for("g", within=20)
        assert arrival.pid in pool.worker_pids()
        os.kill(arrival.pid, signal.SIGKILL)
        gates.open("g")
        while session.unfinished():
            continue
        os.kill(pool.pid, signal.SIGTERM)
        pool.wait(20)
    assert len({op.process for op in History.load(settings.history).where("run")}) == 2


def test_the_version_is_that_of_the_distribution_or_of_the_client(start: Open, tmp_path: Path) -> None:
    file = write_small_adapter(tmp_path / "files")
    target = adapter(str(file))
    assert target.version() == "unknown"
    file.write_text('distribution = "pytest"\n' + file.read_text("utf-8"), "utf-8")
    assert adapter(str(file)).version() == pytest.__version__


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("dies", "client of the adapter files@dies, in the call submit, ended with code 7"),
        ("talks", "in the call submit, wrote a line that is not JSON: hello"),
        ("hangs", "in the call submit, did not answer within 0.3 s"),
        ("counts", "answered unfinished with -1. It has to be a whole number from 0 on"),
        ("words", "'new'.*It has to be a value with `task` .a number., .*one of queued, running, complete"),
    ],
)
def test_a_client_that_does_not_work_is_an_error_of_the_adapter(
    start: Open, monkeypatch: pytest.MonkeyPatch, profile: str, said: str
) -> None:
    session = start(profile)
    monkeypatch.setattr(adapter_client, "CALL_SECONDS", 0.3 if profile == "hangs" else 20.0)

    def use() -> None:
        session.submit(tasks(1))
        session.unfinished()
        list(session.witnesses())

    with pytest.raises(TargetFailed, match=said):
        use()
    if profile in ("dies", "talks", "hangs"):
        with pytest.raises(
            TargetFailed, match=said.replace("in the call submit", "before the call unfinished")
        ):
            session.unfinished()


def test_a_refused_task_certainly_has_no_effect(start: Open) -> None:
    [found] = start("refuses").submit(tasks(1))
    assert (found.certain, found.error) == (True, "TaskRefused: no")


@pytest.mark.parametrize(
    ("client", "said"),
    [
        ("import sys; sys.exit('no module rq')", r"in the call hello, ended with code 1. See .*no module rq"),
        ("print('hi'); input()", "in the call hello, wrote a line that is not JSON: hi"),
        ("print('[1]'); input()", r"wrote a line that is no answer: \[1\]"),
        ('print(\'{"id": 9, "result": 1}\'); input()', "answered a call that was not made"),
        ("input(); print('{\"id\": 1}'); input()", "wrote a line that is no answer"),
        ('input(); print(\'{"id": 1, "result": {}}\'); input()', "answered hello with {}. It has to be"),
        (
            'input(); print(\'{"id": 1, "error": "redis://u:hunter2@h is away"}\'); input()',
            r"in the call hello, failed: redis://u:\*\*\*@h is away",
        ),
    ],
)
def test_a_client_that_does_not_greet_is_named(
    tmp_path: Path, settings: TargetSettings, client: str, said: str
) -> None:
    file = write_small_adapter(tmp_path / "files")
    (tmp_path / "files" / "client.py").write_text(client, "utf-8")
    with pytest.raises(TargetFailed, match=said):
        adapter(str(file)).open(ENDPOINTS, settings)


@pytest.mark.parametrize("client", ["import sys; sys.exit('no module rq')", "print('hi')"])
def test_a_client_that_fails_before_it_is_called_fails_in_its_first_call(
    tmp_path: Path, settings: TargetSettings, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    call = AdapterClient.call

    def call_late(self: AdapterClient, *args: Any, **given: Any) -> Any:
        self._process.wait()
        if self._reader.is_alive():
            self._reader.join()
        return call(self, *args, **given)

    monkeypatch.setattr(AdapterClient, "call", call_late)
    file = write_small_adapter(tmp_path / "files")
    (tmp_path / "files" / "client.py").write_text(client, "utf-8")
    with pytest.raises(TargetFailed, match=r"in the call hello, (ended with code 1|wrote a line)"):
        adapter(str(file)).open(ENDPOINTS, settings)


def test_a_program_that_is_not_there_is_named(start: Open) -> None:
    with pytest.raises(
        TargetFailed, match=r"cannot be started: nope: No such file.*Check `client` in adapter.toml"
    ):
        start(replace=('client = ["{python}"', 'client = ["nope"'))


def test_a_service_that_the_environment_does_not_have_is_refused_in_one_sentence(start: Open) -> None:
    with pytest.raises(
        UsageError, match=r"needs the service 'kafka', and the environment has postgres, redis\."
    ):
        start(replace=('name = "files"', 'name = "files"\nneeds = ["kafka"]'))


def test_only_the_needed_services_and_no_foreign_settings_are_in_the_environment(
    start: Open, settings: TargetSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_REDIS_URL", "redis://of-another-run")
    monkeypatch.setenv("HARNESS_CACHE", "/cache")
    session = start("dies", replace=('name = "files"', 'name = "files"\nneeds = ["postgres"]'))
    variables = session._variables
    assert variables["HARNESS_DATABASE_URL"] == "postgresql://u:secret@h/d"
    assert "HARNESS_REDIS_URL" not in variables
    assert "HARNESS_CACHE" not in variables
    assert variables["HARNESS_PROFILE"] == "dies"
    assert variables["PYTHONPATH"].split(":")[0].endswith("harness/kit")


def test_settings_are_replaced_in_the_commands(start: Open) -> None:
    words = ["-w", "{workers}", "{concurrency}x{lease}", "{queue}/{graceful}", "{folder}/{profile}", "$HOME"]
    found = start("dies")._command(words)
    assert found[:4] == ["-w", "2", "4x5", "q/10"]
    assert found[4].endswith("/files/dies")
    assert found[5] == "$HOME"


def test_the_client_and_its_children_end_with_the_session(start: Open, tmp_path: Path) -> None:
    session = start()
    children = tmp_path / "files" / "client.py"
    assert children.exists()
    pid = session.client._process.pid
    with closing(session):
        assert is_alive(pid)
    assert not is_alive(pid)


def test_a_client_that_ignores_the_end_of_its_input_is_killed(
    start: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(adapter_client, "_END_SECONDS", 0.2)
    session = start("hangs")
    process = session.client._process
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(TargetFailed, match="did not answer within"):
        session.close()
    assert process.returncode == -signal.SIGKILL
    assert subprocess.run([sys.executable, "-c", ""], check=False).returncode == 0


def test_a_client_that_is_killed_leaves_no_process_of_its_own_behind(
    settings: TargetSettings, eventually: Any
) -> None:
    log = settings.folder / "client.log"
    client = AdapterClient(
        "shell",
        ["sh", "-c", "sleep 600 & echo $! >&2; wait"],
        environment=os.environ,
        folder=settings.folder,
        log=log,
    )
    child = int(eventually(lambda: log.read_text("utf-8").strip()))
    try:
        assert child in client.pids()
        client.kill()
        eventually(lambda: not is_alive(child))
    finally:
        send([child], signal.SIGKILL)
    assert client.pids() == []
