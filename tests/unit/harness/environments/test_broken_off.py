"""Faults and ends of environments that break off halfway, with doubles in place of servers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import psutil
import pytest

from harness.environments import reaper
from harness.environments.backend import ServersEnvironment
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.local_disks import limited_files
from harness.environments.topologies import redis_sentinel
from harness.environments.topologies.local_members import LocalRedisServers, local_pair
from harness.environments.topologies.redis_sentinel import RedisBehindSentinels
from harness.errors import EnvironmentUnavailable


@pytest.fixture
def session(tmp_path: Path) -> Any:
    return SimpleNamespace(folder=tmp_path)


@pytest.fixture
def sleepers() -> Iterator[list[psutil.Process]]:
    """Two processes, of which the first one has ended."""
    started = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]
    found = [psutil.Process(one.pid) for one in started]
    started[0].kill()
    started[0].wait()
    yield found
    started[1].kill()
    started[1].wait()


def refused(*given: object, **named: object) -> Any:
    raise EnvironmentUnavailable("Postgres did not carry out ALTER. See its log.")


def test_a_standby_that_was_cut_off_for_a_failover_that_did_not_come_is_in_step_again(session: Any) -> None:
    group, primary, standby = local_pair(session), MagicMock(), MagicMock()
    group._primary, group._standby = primary, standby
    primary.ask_for.return_value = [("streaming", "sync")]
    standby.set.side_effect = refused
    with pytest.raises(EnvironmentUnavailable):
        group.fail_over(lag=1.0)
    primary.kill.assert_not_called()
    group.rejoin()
    standby.rejoin.assert_called_once_with(primary)
    primary.set.assert_called_with("synchronous_standby_names", "*")


def test_a_primary_without_replicas_for_a_failover_that_did_not_come_gets_them_back(
    session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, primary = RedisBehindSentinels(LocalRedisServers(session)), MagicMock()
    monkeypatch.setattr(group, "_primary", lambda: primary)
    monkeypatch.setattr(group, "_wait_until_in_step", lambda: None)
    monkeypatch.setattr(redis_sentinel, "_connected", refused)
    with pytest.raises(EnvironmentUnavailable):
        group.fail_over(lag=1.0)
    primary.kill.assert_not_called()
    group.rejoin()
    primary.restart.assert_called_once_with()


def test_a_child_of_a_server_that_ends_in_between_does_not_keep_the_limit_of_the_others(
    session: Any, sleepers: list[psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "processes_in", lambda _: sleepers)
    before = sleepers[1].rlimit(psutil.RLIMIT_FSIZE)
    server: Any = SimpleNamespace(home=session.folder)
    with limited_files(server, 4096):
        assert sleepers[1].rlimit(psutil.RLIMIT_FSIZE) == (4096, before[1])
    assert sleepers[1].rlimit(psutil.RLIMIT_FSIZE) == before


def test_a_small_disk_ends_also_with_servers_that_do_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    environment, disk = EmbeddedEnvironment(), MagicMock()
    environment._small_disks["postgres"] = disk
    monkeypatch.setattr(ServersEnvironment, "stop", refused)
    with pytest.raises(EnvironmentUnavailable):
        environment.stop()
    disk.close.assert_called_once_with()
