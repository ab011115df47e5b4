"""Which scenarios a run has: those whose servers its backend has and its target connects to."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import cli
from harness.environments.base import Topology
from harness.environments.topologies import make_topology, pgbouncer
from harness.errors import EnvironmentUnavailable, UsageError
from harness.pytest_plugin.fixture import ChaosFixture
from harness.scenario import registry
from harness.scenario.topologies import why_no_topology

TARGET: Any = SimpleNamespace(name="mine", topologies=(Topology.PGBOUNCER,))
WITH_SENTINELS, POOLED = registry.scenario("fail-over-redis"), registry.scenario("restart-pgbouncer")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgbouncer, "program", lambda: "/usr/sbin/pgbouncer")


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgbouncer, "program", lambda: None)


@pytest.mark.usefixtures("installed")
def test_a_scenario_runs_where_its_servers_are() -> None:
    assert why_no_topology(registry.scenario("kill-pool"), "external", TARGET) is None
    assert why_no_topology(POOLED, "embedded", TARGET) is None


@pytest.mark.usefixtures("missing")
def test_a_container_has_its_own_pgbouncer() -> None:
    assert why_no_topology(POOLED, "containers", TARGET) is None


@pytest.mark.usefixtures("installed")
def test_another_backend_and_another_target_lack_a_topology() -> None:
    why = str(why_no_topology(POOLED, "external", TARGET))
    assert "which only the backends embedded and containers have" in why
    with pytest.raises(UsageError, match="external backend has no topology pgbouncer"):
        make_topology(Topology.PGBOUNCER, backend="external")
    assert "`topologies` of mine does not name" in str(why_no_topology(WITH_SENTINELS, "embedded", TARGET))


@pytest.mark.usefixtures("missing")
def test_a_machine_without_pgbouncer_is_told_what_to_install(tmp_path: Path) -> None:
    assert "run `apt-get install pgbouncer`" in str(why_no_topology(POOLED, "embedded", TARGET))
    session: Any = SimpleNamespace(folder=tmp_path)
    server = pgbouncer.LocalPgbouncer(session, database_url="postgresql://u:p@127.0.0.1:1/d")
    with pytest.raises(EnvironmentUnavailable, match="apt-get install pgbouncer"):
        server.prepare()


@pytest.mark.usefixtures("missing")
def test_a_tag_leaves_a_scenario_out_by_name_with_the_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "scenarios", lambda: {one.name: one for one in (WITH_SENTINELS, POOLED)})
    assert cli.main(["chaos", "run", "--tag", "release", "--seed", "1", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert (
        "restart-pgbouncer: left out, it needs PgBouncer, which is not installed: run `apt-get install"
        in printed
    )
    assert "fail-over-redis: 480 tasks in " in printed
    assert "restart-pgbouncer: 240 tasks in " not in printed


@pytest.mark.usefixtures("missing")
def test_a_scenario_that_is_named_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["chaos", "run", "kill-pool", "restart-pgbouncer", "--seed", "1", "--dry-run"]) == 64
    assert "restart-pgbouncer needs PgBouncer, which is not installed" in capsys.readouterr().err


@pytest.mark.usefixtures("missing")
def test_the_fixture_of_pytest_refuses_it_too(tmp_path: Path) -> None:
    fixture = ChaosFixture(SimpleNamespace(), reports=tmp_path)  # type: ignore[arg-type]  # not asked for anything
    with pytest.raises(Exception, match="restart-pgbouncer needs PgBouncer, which is not installed"):
        fixture._environment(POOLED, TARGET)
