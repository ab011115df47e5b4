"""How workers find their pool, their identity, and the errors of the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

import agentexec as ax
from agentexec.cli import main
from agentexec.core.identity import host_identity, is_certainly_dead, process_identity
from agentexec.errors import ConfigurationError
from agentexec.worker.loading import load_pool
from agentexec.worker.reference import PoolReference

not_a_pool = 5
module_pool = ax.Pool(database_url="sqlite://", redis_url="redis://127.0.0.1:1")


def test_a_pool_of_a_module_is_found_by_its_name() -> None:
    reference = PoolReference.of(module_pool)
    assert (reference.module, reference.attribute) == (__name__, "module_pool")
    assert load_pool(PoolReference(**json.loads(json.dumps(asdict(reference))))) is module_pool


@pytest.mark.parametrize(
    ("file", "spec", "expected"),
    [
        (__file__, ModuleSpec("shop.tasks", None), PoolReference(module="shop.tasks", attribute="pool")),
        (__file__, ModuleSpec("__main__", None), PoolReference(path=__file__, attribute="pool")),
        (__file__, None, PoolReference(path=__file__, attribute="pool")),
        (f"{__file__}/__main__.py", None, PoolReference(path=__file__, attribute="pool")),  # of a zip file
    ],
)
def test_a_pool_of_what_was_run_is_found_by_the_name_or_the_path_of_that(
    monkeypatch: pytest.MonkeyPatch, file: str, spec: ModuleSpec | None, expected: PoolReference
) -> None:
    main_module, pool = (
        ModuleType("__main__"),
        ax.Pool(database_url="sqlite://", redis_url="redis://127.0.0.1:1"),
    )
    vars(main_module).update(__file__=file, __spec__=spec, pool=pool)
    monkeypatch.setitem(sys.modules, "__main__", main_module)
    assert PoolReference.of(pool) == expected


def test_a_pool_of_an_interactive_session_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    main_module, pool = (
        ModuleType("__main__"),
        ax.Pool(database_url="sqlite://", redis_url="redis://127.0.0.1:1"),
    )
    vars(main_module).update(pool=pool)
    monkeypatch.setitem(sys.modules, "__main__", main_module)
    with pytest.raises(ConfigurationError, match="interactive session"):
        PoolReference.of(pool)


def test_a_pool_that_no_module_holds_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="module-level variable"):
        PoolReference.of(ax.Pool(database_url="sqlite://", redis_url="redis://127.0.0.1:1"))


@pytest.mark.parametrize("text", ["shop.tasks", ":pool", "shop.tasks:", ""])
def test_what_names_no_pool_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"package\.module:pool"):
        PoolReference.parse(text)


@pytest.mark.parametrize("attribute", ["not_a_pool", "nothing"])
def test_a_name_that_holds_something_else_is_refused(attribute: str) -> None:
    reference = PoolReference(attribute=attribute, module=__name__)
    with pytest.raises(ConfigurationError, match="not an agentexec Pool"):
        load_pool(reference)


def test_this_process_lives() -> None:
    assert not is_certainly_dead(process_identity())
    assert process_identity() == process_identity(os.getpid())


def test_a_process_of_this_host_that_ended_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        identity = process_identity(child.pid)
        assert not is_certainly_dead(identity)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_certainly_dead(identity), "a zombie does nothing any more"
    assert is_certainly_dead(identity)


def test_a_later_process_with_the_same_pid_is_not_the_one_that_died() -> None:
    host, pid, _ = process_identity().split("|")
    assert is_certainly_dead(f"{host}|{pid}|1")


@pytest.mark.parametrize(
    "identity", ["elsewhere|1|1", "", "|", f"{host_identity()}|x|1", f"{host_identity()}"]
)
def test_no_process_of_another_host_is_taken_for_dead(identity: str) -> None:
    assert not is_certainly_dead(identity)


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="the kernel tells the start in ticks on Linux only"
)
def test_who_a_process_is_does_not_depend_on_the_clock_of_the_wall() -> None:
    """That clock can be set, and every live process would be taken for dead."""
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    assert process_identity().endswith(f"|{started}")


@pytest.mark.parametrize("arguments", [[], ["worker"], ["nonsense"], ["worker", "a:b", "c"], ["db"]])
def test_wrong_usage_is_reported_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 64
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.out == ""
