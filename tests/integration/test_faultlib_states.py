"""Faults that hold a real server in a state: what its clients see, that it ends, and that it has to hit somebody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from time import monotonic

import psycopg
import pytest
import redis
from psycopg import errors
from redis.backoff import NoBackoff
from redis.retry import Retry

from harness.environments.base import WATCHING, Endpoints
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.redis_connection import RedisFailure
from harness.errors import GateError, HarnessError
from harness.faults import postgres_states, redis_states
from harness.faults.held_state import ServerState, repeated
from harness.load.server_gauges import RedisSampler

pytestmark = pytest.mark.integration

LIMIT_SECONDS = 30.0


@pytest.fixture(scope="module")
def own_servers() -> Iterator[Endpoints]:
    """Servers of this module, because its faults strike everything that uses them."""
    with EmbeddedEnvironment() as environment:
        with psycopg.connect(environment.endpoints.database_url, autocommit=True) as connection:
            connection.execute("CREATE TABLE books (n int)")
        yield environment.endpoints


def in_redis(endpoints: Endpoints) -> redis.Redis:
    return redis.Redis.from_url(endpoints.redis_url, retry=Retry(NoBackoff(), 0), socket_timeout=5.0)


def in_postgres(endpoints: Endpoints) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(endpoints.database_url, autocommit=True)


def error_of(kind: type[Exception], action: Callable[[], object]) -> str:
    """The message of the error of this kind that the action raises sooner or later."""
    end = monotonic() + LIMIT_SECONDS
    while monotonic() < end:
        try:
            action()
        except kind as error:
            return str(error)
    pytest.fail(f"nothing raised {kind.__name__} within {LIMIT_SECONDS} s")


REFUSALS: list[tuple[ServerState, type[Exception], str]] = [
    (redis_states.MemoryFull(), redis.OutOfMemoryError, "maxmemory"),
    (redis_states.ReadOnlyReplica(), redis.ReadOnlyError, "read only"),
    (redis_states.Busy(), redis.ResponseError, "busy running a script"),
    (redis_states.PasswordChanged(), redis.AuthenticationError, ""),
    (redis_states.ClientsKilled(), redis.ConnectionError, ""),
]


@pytest.mark.parametrize(("state", "error", "text"), REFUSALS, ids=[state.name for state, *_ in REFUSALS])
def test_redis_refuses_a_write_while_the_state_is_held_and_takes_it_afterwards(
    own_servers: Endpoints, state: ServerState, error: type[Exception], text: str
) -> None:
    with closing(in_redis(own_servers)) as client:
        client.set("kept", 1)
        with state.held(own_servers):
            assert text in error_of(error, lambda: client.set("lost", 2))
    with closing(in_redis(own_servers)) as client:
        assert client.get("kept") == b"1"
        assert client.set("taken", 3)


def test_redis_evicts_keys_while_the_state_is_held(own_servers: Endpoints) -> None:
    with closing(in_redis(own_servers)) as client:
        before = client.config_get("maxmemory*")
        client.mset({f"filler:{n}": bytes(1_000) for n in range(3_000)})
        with redis_states.Evicting().held(own_servers):
            client.set("new", 1)
        assert 0 < len(client.keys("filler:*")) < 3_000
        assert client.config_get("maxmemory*") == before
        client.flushall()


def writing(connection: psycopg.Connection[tuple[object, ...]]) -> Callable[[], object]:
    return lambda: connection.execute("INSERT INTO books VALUES (1)")


def test_postgres_is_read_only_while_the_state_is_held(own_servers: Endpoints) -> None:
    with in_postgres(own_servers) as connection:
        with postgres_states.ReadOnly().held(own_servers):
            assert "read-only" in error_of(errors.ReadOnlySqlTransaction, writing(connection))
        eventually_succeeds(writing(connection))


@pytest.mark.parametrize("before", ["off", None])
def test_what_alter_system_had_set_before_a_state_is_set_again(
    own_servers: Endpoints, before: str | None
) -> None:
    name = "default_transaction_read_only"
    with in_postgres(own_servers) as connection:
        postgres_states.alter_system(connection, {name: before})
        with postgres_states.ReadOnly().held(own_servers):
            pass
        assert postgres_states.alter_system(connection, {name: None}) == {name: before}


def eventually_succeeds(action: Callable[[], object]) -> None:
    """The action succeeds sooner or later: a session reads changed settings between its statements."""
    end = monotonic() + LIMIT_SECONDS
    while True:
        try:
            action()
        except psycopg.Error:
            assert monotonic() < end
        else:
            return


def test_tables_are_locked_while_the_state_is_held(own_servers: Endpoints) -> None:
    with in_postgres(own_servers) as connection:
        with postgres_states.TablesLocked().held(own_servers):
            connection.execute("SET lock_timeout = '10ms'")
            with pytest.raises(errors.LockNotAvailable):
                connection.execute("SELECT * FROM books")
        connection.execute("SELECT * FROM books")


def test_a_lock_waits_until_no_transaction_uses_a_table(own_servers: Endpoints) -> None:
    with in_postgres(own_servers) as user, in_postgres(own_servers) as other:
        user.execute("BEGIN")
        user.execute("SELECT * FROM books")
        state = postgres_states.TablesLocked().held(own_servers)

        def end_soon() -> None:
            # What asks for the lock does not make others wait.
            other.execute("SELECT * FROM books")
            user.execute("COMMIT")

        with repeated(end_soon), state:
            pass


@pytest.mark.timeout(60)
def test_a_lock_does_not_wait_for_ever(own_servers: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_states, "MOST_WAIT_SECONDS", 0.2)
    with in_postgres(own_servers) as user:
        user.execute("BEGIN")
        user.execute("SELECT * FROM books")
        with pytest.raises(GateError, match="in use"), postgres_states.TablesLocked().held(own_servers):
            pytest.fail("the table is in use")


def test_no_connection_is_left_while_the_state_is_held(own_servers: Endpoints) -> None:
    with in_postgres(own_servers) as connection:
        with postgres_states.ConnectionsExhausted().held(own_servers):
            error_of(psycopg.OperationalError, lambda: connection.execute("SELECT 1"))
            assert "too many clients" in error_of(
                psycopg.OperationalError, lambda: in_postgres(own_servers).close()
            )
    with in_postgres(own_servers) as connection:
        connection.execute("SELECT 1")


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (postgres_states.StatementsCanceled(), errors.QueryCanceled),
        (postgres_states.BackendsTerminated(), psycopg.OperationalError),
    ],
    ids=["canceled", "terminated"],
)
def test_statements_end_early_while_the_state_is_held(
    own_servers: Endpoints, state: ServerState, error: type[Exception]
) -> None:
    with suppress(psycopg.OperationalError), in_postgres(own_servers) as connection:
        with state.held(own_servers), pytest.raises(error):
            connection.execute("SELECT pg_sleep(30)")
    with in_postgres(own_servers) as connection:
        connection.execute("SELECT 1")


@pytest.mark.parametrize(
    "state",
    [
        *(state for state, *_ in REFUSALS),
        *(redis_states.Evicting(kept=1.0), postgres_states.StatementsCanceled()),
        *(postgres_states.BackendsTerminated(), postgres_states.ConnectionsExhausted()),
    ],
    ids=lambda state: state.name,
)
def test_a_state_that_hits_no_client_is_no_fault(own_servers: Endpoints, state: ServerState) -> None:
    with pytest.raises(GateError, match=r"Run this fault on a target that uses"):
        with state.held(own_servers):
            pass


@pytest.mark.parametrize(
    "state",
    [
        postgres_states.StatementsCanceled(),
        postgres_states.BackendsTerminated(),
        postgres_states.ConnectionsExhausted(),
    ],
    ids=lambda state: state.name,
)
def test_what_the_harness_watches_with_is_no_client(own_servers: Endpoints, state: ServerState) -> None:
    with psycopg.connect(own_servers.database_url, application_name=WATCHING) as watching:
        with pytest.raises(GateError, match="had nothing to strike"), state.held(own_servers):
            watching.execute("SELECT pg_sleep(0.3)")
        watching.execute("SELECT 1")


@pytest.mark.parametrize(
    ("state", "refuses"),
    [
        (redis_states.ClientsKilled(), False),
        (redis_states.PasswordChanged(), False),
        (redis_states.Busy(script_seconds=0.2), True),
    ],
    ids=["killed", "locked out", "busy"],
)
def test_the_gauges_of_a_load_are_no_client_of_redis(
    own_servers: Endpoints, state: ServerState, refuses: bool
) -> None:
    with closing(RedisSampler(own_servers.redis_url)) as gauges:
        gauges.sample()
        watch = partial(error_of, RedisFailure, gauges.sample) if refuses else gauges.sample
        with pytest.raises(GateError, match=r"no client|nothing to strike"), state.held(own_servers):
            watch()
        assert gauges.sample().totals, "it is still connected"


def test_a_server_that_is_away_is_a_breakdown_with_one_sentence() -> None:
    nowhere = Endpoints(
        database_url="postgresql://postgres@127.0.0.1:1/postgres", redis_url="redis://127.0.0.1:1"
    )
    for state in (redis_states.MemoryFull(), postgres_states.ReadOnly()):
        with pytest.raises(HarnessError, match=r"^(Redis|Postgres) refused: .*See its log\.$"):
            with state.held(nowhere):
                pass
