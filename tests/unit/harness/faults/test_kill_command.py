"""The kill hook of a user: placeholders, victims, exit codes, and that no shell reads what they are replaced by."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.errors import GateError, UsageError
from harness.faults.base import PlannedFault
from harness.faults.kill_command import KillByCommand, KillHook
from harness.scenario import registry
from harness.scenario.watching import on_user_workers

PRINT = f"{sys.executable} -c 'import sys; print(*sys.argv[1:])'"


def planned(hook: KillHook, *, number: int = 3, draw: float = 0.0) -> PlannedFault:
    fault = KillByCommand(at=0.5, hook=hook)
    return PlannedFault(number=number, fault=fault, gate="task-1", moment=0.0, draw=draw)


def writing(file: Path, words: str) -> str:
    """A command that writes its words into a file, one a line."""
    code = 'import sys; open(sys.argv[1], "w").write(chr(10).join(sys.argv[2:]))'
    return f"{sys.executable} -c '{code}' {file} {words}"


@pytest.mark.parametrize(("draw", "victim"), [(0.0, "a"), (0.5, "b"), (0.99, "c;touch${IFS}x")])
def test_a_victim_is_chosen_and_is_never_more_than_a_word(tmp_path: Path, draw: float, victim: str) -> None:
    file = tmp_path / "words"
    hook = KillHook.of(
        writing(file, "pod/{pod} {pid} {victim} fault-{number}"), f"{PRINT} a b 'c;touch${{IFS}}x'"
    )
    assert hook.strike(planned(hook, draw=draw)) == victim
    assert file.read_text("utf-8").split("\n") == [f"pod/{victim}", victim, victim, "fault-3"]
    assert [one.name for one in tmp_path.iterdir()] == ["words"], "no shell has run it"


def test_a_command_that_names_no_victim_needs_none(tmp_path: Path) -> None:
    hook = KillHook.of(writing(tmp_path / "words", "now"), None)
    assert hook.strike(planned(hook)) is None


@pytest.mark.parametrize(
    ("command", "victims", "sentence"),
    [
        ("kill -9 {pid}", None, "nothing lists them"),
        ("kill -9 {process}", "cat pids", "placeholder {process}. Use {victim}, {pod}, {pid}, {number}"),
        ("kill -9 '", None, "cannot be split into words"),
        ("  ", None, "is empty"),
        ("no-such-program {pid}", "cat pids", "no-such-program, which is not found"),
        ("kill -9 {pid}", "no-such-program", "--kill-victims runs no-such-program"),
    ],
)
def test_a_wrong_command_is_refused_before_the_run(command: str, victims: str | None, sentence: str) -> None:
    with pytest.raises(UsageError) as raised:
        KillHook.of(command, victims)
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ("command", "victims", "sentence"),
    [
        ("false", None, "--kill-command ended with code 1: it printed nothing"),
        ("cat /nowhere/pids", None, "ended with code 1: cat: /nowhere/pids"),
        ("true {pid}", "cat /nowhere/pids", "--kill-victims ended with code 1"),
        ("true {pid}", "true", "printed no victim"),
    ],
)
def test_a_command_that_fails_is_a_fault_that_failed(
    command: str, victims: str | None, sentence: str
) -> None:
    hook = KillHook.of(command, victims)
    with pytest.raises(GateError) as raised:
        hook.strike(planned(hook))
    assert sentence in str(raised.value)


def test_on_workers_of_the_user_only_the_hook_and_the_wire_strike() -> None:
    hook = KillHook.of("true", None)

    def faults(name: str, given: KillHook | None = hook) -> list[str] | None:
        found = on_user_workers(registry.scenario(name), given)
        return None if found is None else [fault.name for fault in found.faults]

    assert faults("kill-worker-mid-task") == ["kill-command"] * 8
    assert faults("kill-pool") == ["kill-command"] * len(registry.scenario("kill-pool").faults)
    assert faults("lose-reply", None) == ["lose-reply"] * 4
    assert faults("watch", None) == []
    others = ("sigterm-drain", "pause-worker", "starve-workers", "rolling-deploy")
    for name in (*others, "handler-exits", "exhaust-memory"):
        assert faults(name) is None, name
    assert faults("kill-pool", None) is None


def test_tasks_of_the_user_are_only_struck_by_the_hook() -> None:
    found = on_user_workers(registry.scenario("kill-pool"), KillHook.of("true", None), read_only=True)
    assert found is not None
    assert (found.workload.name, {one.name for one in found.faults}) == ("observed-tasks", {"kill-command"})
    assert on_user_workers(registry.scenario("lose-reply"), None, read_only=True) is None


def test_a_gate_stops_no_worker_of_the_user() -> None:
    found = on_user_workers(registry.scenario("kill-worker-mid-task"), KillHook.of("true", None))
    assert found is not None
    assert not any(fault.gated for fault in found.faults)
    assert "exits" not in found.checkers
