"""The virtual runtime: time, threads, processes, event loops and servers."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
from collections.abc import Callable, Iterator

import pytest
import redis
from sqlalchemy.exc import IntegrityError, OperationalError

from agentexec.core import runtime
from agentexec.store.dialects import run
from harness.history.figures import NANOSECONDS
from harness.simulation.call_faults import CallFault, CallFaults, Network, PendingFault
from harness.simulation.loop import VirtualLoop
from harness.simulation.monitor import breaches
from harness.simulation.postgres_server import PostgresServer
from harness.simulation.queue.books import Books, Holder, Job
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.redis_server import RedisServer, SimulatedQueue
from harness.simulation.runtime import EPOCH, VirtualRuntime
from harness.simulation.scheduler import Process, Scheduler


class SimulatedProcess:
    """A virtual runtime with one process."""

    def __init__(self) -> None:
        self.scheduler = Scheduler(7)
        self.runtime = VirtualRuntime(self.scheduler)
        self.process = self.runtime.new_process("one")
        self.said: list[object] = []

    def run(self, *works: Callable[[], object], until: float = 100.0) -> list[object]:
        """Run each as a thread of the process."""
        for work in works:
            self.scheduler.spawn(self.process, work)
        self.scheduler.run(round(until * NANOSECONDS))
        if self.scheduler.escaped:
            raise self.scheduler.escaped[0][1]
        return self.said

    def say(self, what: object) -> None:
        """Record it with the virtual time."""
        self.said.append((round(self.runtime.monotonic(), 3), what))


@pytest.fixture
def simulated() -> Iterator[SimulatedProcess]:
    simulated = SimulatedProcess()
    with runtime.use(simulated.runtime):
        yield simulated
    simulated.scheduler.unwind_all(simulated.runtime.processes)


def test_a_sleep_takes_virtual_time_only(simulated: SimulatedProcess) -> None:
    def work() -> None:
        simulated.runtime.sleep(3600)
        simulated.say("awake")

    assert simulated.run(work, until=4000) == [(3600.0, "awake")]


def test_an_event_wakes_its_waiters_and_a_time_out_returns_false(simulated: SimulatedProcess) -> None:
    event = simulated.runtime.event()

    def waiter() -> None:
        simulated.say(event.wait(1))
        simulated.say(event.wait(10))

    def setter() -> None:
        simulated.runtime.sleep(5)
        event.set()

    assert simulated.run(waiter, setter) == [(1.0, False), (5.0, True)]


def test_a_condition_is_asked_again_when_it_is_notified(simulated: SimulatedProcess) -> None:
    condition, items = simulated.runtime.condition(), list[int]()

    def taker() -> None:
        with condition:
            simulated.say(condition.wait_for(lambda: len(items) > 1, timeout=9))
            simulated.say(condition.wait_for(lambda: len(items) > 2, timeout=9))

    def giver() -> None:
        for item in (1, 2):
            simulated.runtime.sleep(2)
            with condition:
                items.append(item)
                condition.notify()

    assert simulated.run(taker, giver) == [(4.0, True), (13.0, False)]


def test_a_mailbox_keeps_the_order_and_is_empty_after_its_time(simulated: SimulatedProcess) -> None:
    box: runtime.Mailbox[int] = simulated.runtime.mailbox()
    box.put(1)
    box.put(2)

    def reader() -> None:
        simulated.say(box.get())
        simulated.say(box.get())
        try:
            box.get(timeout=2)
        except queue.Empty:
            simulated.say("empty")

    assert simulated.run(reader) == [(0.0, 1), (0.0, 2), (2.0, "empty")]


def test_a_thread_can_be_joined(simulated: SimulatedProcess) -> None:
    def work() -> None:
        thread = simulated.runtime.spawn(lambda: simulated.runtime.sleep(3), name="t")
        thread.join(1)
        simulated.say("not yet")
        thread.join()
        simulated.say("over")

    assert simulated.run(work) == [(1.0, "not yet"), (3.0, "over")]


def test_a_killed_process_does_nothing_more_but_unwinds(simulated: SimulatedProcess) -> None:
    def work() -> None:
        try:
            simulated.runtime.sleep(10)
            simulated.say("never")
        finally:
            simulated.said.append("unwound")

    simulated.scheduler.at(2 * NANOSECONDS, None, lambda: simulated.scheduler.kill(simulated.process, -9))
    assert simulated.run(work) == ["unwound"]
    assert not simulated.process.threads


def test_a_process_that_ends_itself_reports_its_code_to_the_parent(simulated: SimulatedProcess) -> None:
    simulated.process.at_exit.append(simulated.say)

    def work() -> None:
        simulated.runtime.sleep(1)
        simulated.runtime.end_process(5)

    assert simulated.run(work, lambda: simulated.runtime.sleep(50)) == [(1.0, 5)]


def test_a_stalled_process_goes_on_later_and_others_do_not_wait(simulated: SimulatedProcess) -> None:
    other = simulated.runtime.new_process("two")

    def work() -> None:
        simulated.runtime.sleep(2)
        simulated.say("late")

    def free() -> None:
        simulated.runtime.sleep(2)
        simulated.say("in time")

    simulated.scheduler.spawn(other, free)
    simulated.scheduler.at(NANOSECONDS, None, lambda: simulated.scheduler.stall(simulated.process, 5))
    assert simulated.run(work) == [(2.0, "in time"), (6.0, "late")]


def test_what_a_thread_lets_through_is_kept(simulated: SimulatedProcess) -> None:
    def work() -> None:
        raise LookupError("a bug")

    with pytest.raises(LookupError):
        simulated.run(work)


def test_the_seed_decides_the_order_of_what_happens_at_once() -> None:
    def order(seed: int) -> list[int]:
        scheduler, done = Scheduler(seed), list[int]()
        for number in range(6):
            scheduler.at(5, None, lambda number=number: done.append(number))  # type: ignore[misc]  # bound now
        scheduler.run(10)
        return done

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(20)}) > 5


# The event loop runs asyncio's own tasks.


def on_loop(simulated: SimulatedProcess, work: Callable[[], object]) -> None:
    loop = VirtualLoop(simulated.scheduler, simulated.process)
    loop.call_soon(work)
    simulated.scheduler.run(100 * NANOSECONDS)


def test_tasks_sleep_and_time_out_in_virtual_time(simulated: SimulatedProcess) -> None:
    async def handler() -> None:
        await asyncio.sleep(2)
        simulated.say("slept")
        try:
            async with asyncio.timeout(3):
                await asyncio.sleep(60)
        except TimeoutError:
            simulated.say("timed out")

    on_loop(simulated, lambda: asyncio.get_running_loop().create_task(handler()))
    assert simulated.said == [
        (pytest.approx(2, abs=0.01), "slept"),
        (pytest.approx(5, abs=0.01), "timed out"),
    ]


def test_a_task_can_be_canceled_and_waits_for_others(simulated: SimulatedProcess) -> None:
    async def child() -> None:
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            simulated.said.append("canceled")
            raise

    async def parent() -> None:
        task = asyncio.create_task(child())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        simulated.said.append("over")

    on_loop(simulated, lambda: asyncio.get_running_loop().create_task(parent()))
    assert simulated.said == ["canceled", "over"]


def test_what_a_callback_raises_is_kept_as_a_finding(simulated: SimulatedProcess) -> None:
    on_loop(simulated, lambda: dict[str, int]()["missing"])
    assert isinstance(simulated.scheduler.escaped[0][1], KeyError)


def test_the_tasks_of_a_dead_process_are_silent(simulated: SimulatedProcess) -> None:
    async def handler() -> None:
        await asyncio.sleep(50)
        simulated.said.append("never")

    simulated.scheduler.at(NANOSECONDS, None, lambda: simulated.scheduler.kill(simulated.process, -9))
    on_loop(simulated, lambda: asyncio.get_running_loop().create_task(handler()))
    assert simulated.said == []


# The servers and the faults of calls to them.


def pending(kind: CallFault, *, after: bool, seconds: float = 0.0) -> PendingFault:
    return PendingFault(kind=kind, after=after, skip=0, seconds=seconds, strike=lambda: None)


class Servers:
    """Both servers, as the simulated process sees them."""

    def __init__(self, simulated: SimulatedProcess) -> None:
        self.simulated = simulated
        self.call_faults = CallFaults()
        self.recorder = SimulatedRecorder(simulated.scheduler)
        self.redis = RedisServer(simulated.runtime, lambda books, call: None)
        self.postgres = PostgresServer(simulated.runtime)
        network = Network(simulated.runtime, simulated.process, self.call_faults)
        self.queue = SimulatedQueue(self.redis, simulated.runtime, self.recorder, simulated.process, network)
        self.engine = self.postgres.engine_of(self.recorder, simulated.process, network)

    def register(self) -> None:
        """A call to Redis that can be seen from outside."""
        try:
            self.queue.register("w", "identity")
            self.simulated.said.append("answered")
        except redis.ConnectionError:
            self.simulated.said.append("no answer")

    def write(self) -> None:
        """A transaction that can be seen from outside."""
        try:
            with self.engine.begin() as connection:
                run(connection, "CREATE TABLE IF NOT EXISTS probe (x)")
                run(connection, "INSERT INTO probe VALUES (1)")
            self.simulated.said.append("committed")
        except OperationalError as error:
            self.simulated.said.append("no answer" if error.connection_invalidated else error)

    def written(self) -> int:
        """How often `write` took effect; resets the count."""
        with self.postgres.transaction() as connection:
            run(connection, "CREATE TABLE IF NOT EXISTS probe (x)")
            ((count,),) = run(connection, "SELECT count(*) FROM probe")
            run(connection, "DROP TABLE probe")
        return int(count)


@pytest.fixture
def servers(simulated: SimulatedProcess) -> Iterator[Servers]:
    servers = Servers(simulated)
    with servers.postgres.open():
        yield servers


@pytest.mark.parametrize(
    ("kind", "after", "said", "effect"),
    [
        (CallFault.LOSE_REQUEST, False, "no answer", False),
        (CallFault.LOSE_REPLY, True, "no answer", True),
        (CallFault.STALL, False, "answered", True),
        (CallFault.STALL, True, "answered", True),
        (CallFault.KILL, False, None, False),
        (CallFault.KILL, True, None, True),
    ],
)
def test_a_pending_fault_strikes_before_or_after_the_effect(
    simulated: SimulatedProcess,
    servers: Servers,
    kind: CallFault,
    after: bool,
    said: str | None,
    effect: bool,
) -> None:
    servers.call_faults.add(simulated.process, pending(kind, after=after, seconds=3))
    simulated.run(servers.register)
    assert simulated.said == ([] if said is None else [said])
    assert ("w" in servers.redis.memory.registered()) == effect


@pytest.mark.parametrize(
    ("kind", "after", "said", "effect"),
    [
        (CallFault.LOSE_REQUEST, False, "no answer", 0),
        (CallFault.LOSE_REPLY, True, "no answer", 1),
        (CallFault.LATE_REQUEST, False, "no answer", 0),
        (CallFault.KILL, False, None, 0),
        (CallFault.KILL, True, None, 1),
        (CallFault.STALL, True, "committed", 1),
    ],
)
def test_a_transaction_is_applied_or_not_whatever_its_sender_receives(
    simulated: SimulatedProcess, servers: Servers, kind: CallFault, after: bool, said: str | None, effect: int
) -> None:
    servers.call_faults.add(simulated.process, pending(kind, after=after, seconds=3))
    simulated.run(servers.write)
    assert simulated.said == ([] if said is None else [said])
    assert servers.written() == effect


def test_a_late_request_arrives_after_its_sender_has_given_up(
    simulated: SimulatedProcess, servers: Servers
) -> None:
    servers.call_faults.add(simulated.process, pending(CallFault.LATE_REQUEST, after=False, seconds=3))
    simulated.run(servers.register, until=1)
    assert simulated.said == ["no answer"]
    assert servers.redis.memory.registered() == {}
    simulated.scheduler.run(5 * NANOSECONDS)
    assert servers.redis.memory.registered() == {"w": "identity"}


def test_a_server_that_is_away_refuses_and_comes_back(simulated: SimulatedProcess, servers: Servers) -> None:
    servers.redis.go_away(2)
    servers.postgres.go_away(2)
    simulated.run(servers.register, servers.write, until=1)
    assert simulated.said == ["no answer", "no answer"]
    simulated.scheduler.run(3 * NANOSECONDS)
    simulated.said.clear()
    simulated.run(servers.register, servers.write)
    assert sorted(map(str, simulated.said)) == ["answered", "committed"]
    servers.written()


def test_a_refused_transaction_raises_what_sqlalchemy_raises_and_leaves_nothing(servers: Servers) -> None:
    def insert_twice() -> None:
        with servers.postgres.transaction() as connection:
            (row,) = run(connection, "INSERT INTO probe VALUES (:x) RETURNING x", x=1)
            assert row.x == 1
            run(connection, "INSERT INTO probe VALUES (1)")

    with servers.postgres.transaction() as connection:
        run(connection, "CREATE TABLE probe (x UNIQUE)")
    with pytest.raises(IntegrityError, match="UNIQUE"):
        insert_twice()
    assert servers.written() == 0


def test_a_failover_brings_back_what_was_saved(simulated: SimulatedProcess, servers: Servers) -> None:
    servers.redis.memory.register("before", "x")
    servers.redis.save(1)
    servers.redis.memory.register("after", "x")
    servers.redis.fall_back(1)
    assert set(servers.redis.memory.registered()) == {"before"}


@pytest.mark.parametrize("shift", [None, "-2.0 seconds", "0.25 seconds", "90061.5 seconds"])
def test_the_virtual_strftime_agrees_with_sqlites(
    simulated: SimulatedProcess, servers: Servers, shift: str | None
) -> None:
    form = "%Y-%m-%d %H:%M:%f000"
    more = [] if shift is None else [shift]
    with sqlite3.connect(":memory:") as real, servers.postgres.engine.connect() as connection:
        marks = ", ".join("?" * (2 + len(more)))
        # SQLite's `unixepoch` modifier makes its own clock read ours.
        own = real.execute(
            f"SELECT strftime(?, ?, 'unixepoch'{', ?' * len(more)})", [form, EPOCH, *more]
        ).fetchone()[0]
        ours = connection.exec_driver_sql(f"SELECT strftime({marks})", (form, "now", *more)).scalar_one()
    real.close()
    assert ours == own


def test_the_virtual_julianday_agrees_with_sqlites(simulated: SimulatedProcess, servers: Servers) -> None:
    with sqlite3.connect(":memory:") as real, servers.postgres.engine.connect() as connection:
        for when in ("2027-01-15 08:00:00.250000", "1999-12-31 23:59:59.999000"):
            own = real.execute("SELECT julianday(?)", [when]).fetchone()[0]
            ours = connection.exec_driver_sql("SELECT julianday(?)", (when,)).scalar_one()
            assert ours == pytest.approx(own, abs=1e-8)
        assert connection.exec_driver_sql("SELECT julianday(NULL)").scalar_one() is None
    real.close()


# The watcher of the books.


def test_sound_books_have_no_breach(simulated: SimulatedProcess) -> None:
    assert list(breaches(books_with_one_lease(simulated))) == []


def test_a_task_in_two_places_or_none_and_a_lease_without_a_holder_are_breaches(
    simulated: SimulatedProcess,
) -> None:
    twice, nowhere, unowned = (books_with_one_lease(simulated) for _ in range(3))
    (task,) = twice.job
    twice.ready[0].append(task)
    nowhere.job[simulated.runtime.new_id()] = Job(0, b"")
    unowned.holder.clear()
    assert [bool(list(breaches(books))) for books in (twice, nowhere, unowned)] == [True] * 3


def test_two_leases_of_one_lock_key_are_a_breach(simulated: SimulatedProcess) -> None:
    books = books_with_one_lease(simulated)
    other = simulated.runtime.new_id()
    books.job[other], books.holder[other] = Job(0, b""), Holder(2, "w")
    books.lease.add(other, 1)
    books.part = dict.fromkeys(books.job, "a")
    assert any("I11" in breach for breach in breaches(books))


def books_with_one_lease(simulated: SimulatedProcess) -> Books:
    books, task = Books(), simulated.runtime.new_id()
    books.job[task], books.holder[task] = Job(0, b""), Holder(1, "w")
    books.lease.add(task, 1)
    return books


def test_a_dead_process_is_certainly_dead_and_a_living_one_is_not(simulated: SimulatedProcess) -> None:
    identities = []

    def work() -> None:
        identities.append(simulated.runtime.identity())
        simulated.runtime.sleep(5)

    simulated.run(work, until=1)
    assert not simulated.runtime.is_certainly_dead(identities[0])
    simulated.scheduler.kill(simulated.process, -9)
    assert simulated.runtime.is_certainly_dead(identities[0])
    assert isinstance(simulated.process, Process)
