"""A deadlock is counted on servers whose log can be read, and on those whose log cannot."""

from __future__ import annotations

import pytest

from harness.environments.base import Environment
from harness.environments.deadlocks import DeadlockWatch
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.external import ExternalEnvironment
from tests.conftest import Eventually
from tests.support.deadlock import make_deadlock

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("known", ["environment", "external environment", "URL"])
def test_a_deadlock_is_counted_once_and_one_from_before_is_not(
    servers: EmbeddedEnvironment, known: str, eventually: Eventually
) -> None:
    endpoints = servers.endpoints
    external = ExternalEnvironment(database_url=endpoints.database_url, redis_url=endpoints.redis_url)
    watched: Environment | str = servers if known == "environment" else external
    watched = endpoints.database_url if known == "URL" else watched
    source = "log" if known == "environment" else "statistics"
    with external:
        for _ in range(2):
            watch = DeadlockWatch(watched)
            assert watch.found().count == 0
            make_deadlock(endpoints.database_url)
            eventually(lambda watch=watch: watch.found().count)  # type: ignore[misc]  # a session ends a moment later
        found = watch.found()
    assert (found.count, found.source, found.why) == (1, source, "")
    assert ["pg_advisory_xact_lock" in detail for detail in found.details] == (
        [True] if source == "log" else []
    )


def test_a_crash_of_the_server_does_not_hide_a_deadlock_in_its_log() -> None:
    with EmbeddedEnvironment() as environment:
        watch = DeadlockWatch(environment)
        make_deadlock(environment.endpoints.database_url)
        environment.kill("postgres")
        assert watch.found().count == 1
        environment.restart("postgres")
        assert watch.found().count == 1
