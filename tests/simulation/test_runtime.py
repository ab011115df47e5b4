"""The virtual runtime: time, threads, processes, event loops and servers."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
from collections.abc import Callable, Iterator

import pytest
import redis
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from agentexec.core import runtime
from harness.history.figures import NANOSECONDS
from harness.simulation.call_faults import CallFault, CallFaults, Network, PendingFault
from harness.simulation.loop import VirtualLoop
from harness.simulation.monitor import breaches
from harness.simulation.postgres_server import PostgresServer, SimulatedDatabase
from harness.simulation.queue.books import Books, Holder, Job
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.redis_server import RedisServer, SimulatedQueue
from harness.simulation.runtime import EPOCH, VirtualRuntime
from harness.simulation.scheduler import Process, Scheduler


class World:
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
def world() -> Iterator[World]:
    world = World()
    with runtime.use(world.runtime):
        yield world
    world.scheduler.unwind_all(world.runtime.processes)


def test_a_sleep_takes_virtual_time_only(world: World) -> None:
    def work() -> None:
        world.runtime.sleep(3600)
        world.say("awake")

    assert world.run(work, until=4000) == [(3600.0, "awake")]


def test_an_event_wakes_its_waiters_and_a_time_out_returns_false(world: World) -> None:
    event = world.runtime.event()

    def waiter() -> None:
        world.say(event.wait(1))
        world.say(event.wait(10))

    def setter() -> None:
        world.runtime.sleep(5)
        event.set()

    assert world.run(waiter, setter) == [(1.0, False), (5.0, True)]


def test_a_condition_is_asked_again_when_it_is_notified(world: World) -> None:
    condition, items = world.runtime.condition(), list[int]()

    def taker() -> None:
        with condition:
            world.say(condition.wait_for(lambda: len(items) > 1, timeout=9))
            world.say(condition.wait_for(lambda: len(items) > 2, timeout=9))

    def giver() -> None:
        for item in (1, 2):
            world.runtime.sleep(2)
            with condition:
                items.append(item)
                condition.notify()

    assert world.run(taker, giver) == [(4.0, True), (13.0, False)]


def test_a_mailbox_keeps_the_order_and_is_empty_after_its_time(world: World) -> None:
    box: runtime.Mailbox[int] = world.runtime.mailbox()
    box.put(1)
    box.put(2)

    def reader() -> None:
        world.say(box.get())
        world.say(box.get())
        try:
            box.get(timeout=2)
        except queue.Empty:
            world.say("empty")

    assert world.run(reader) == [(0.0, 1), (0.0, 2), (2.0, "empty")]


def test_a_thread_can_be_joined(world: World) -> None:
    def work() -> None:
        thread = world.runtime.spawn(lambda: world.runtime.sleep(3), name="t")
        thread.join(1)
        world.say("not yet")
        thread.join()
        world.say("over")

    assert world.run(work) == [(1.0, "not yet"), (3.0, "over")]


def test_a_killed_process_does_nothing_more_but_unwinds(world: World) -> None:
    def work() -> None:
        try:
            world.runtime.sleep(10)
            world.say("never")
        finally:
            world.said.append("unwound")

    world.scheduler.at(2 * NANOSECONDS, None, lambda: world.scheduler.kill(world.process, -9))
    assert world.run(work) == ["unwound"]
    assert not world.process.threads


def test_a_process_that_ends_itself_reports_its_code_to_the_parent(world: World) -> None:
    world.process.at_exit.append(world.say)

    def work() -> None:
        world.runtime.sleep(1)
        world.runtime.end_process(5)

    assert world.run(work, lambda: world.runtime.sleep(50)) == [(1.0, 5)]


def test_a_stalled_process_goes_on_later_and_others_do_not_wait(world: World) -> None:
    other = world.runtime.new_process("two")

    def work() -> None:
        world.runtime.sleep(2)
        world.say("late")

    def free() -> None:
        world.runtime.sleep(2)
        world.say("in time")

    world.scheduler.spawn(other, free)
    world.scheduler.at(NANOSECONDS, None, lambda: world.scheduler.stall(world.process, 5))
    assert world.run(work) == [(2.0, "in time"), (6.0, "late")]


def test_what_a_thread_lets_through_is_kept(world: World) -> None:
    def work() -> None:
        raise LookupError("a bug")

    with pytest.raises(LookupError):
        world.run(work)


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


def on_loop(world: World, work: Callable[[], object]) -> None:
    loop = VirtualLoop(world.scheduler, world.process)
    loop.call_soon(work)
    world.scheduler.run(100 * NANOSECONDS)


def test_tasks_sleep_and_time_out_in_virtual_time(world: World) -> None:
    async def handler() -> None:
        await asyncio.sleep(2)
        world.say("slept")
        try:
            async with asyncio.timeout(3):
                await asyncio.sleep(60)
        except TimeoutError:
            world.say("timed out")

    on_loop(world, lambda: asyncio.get_running_loop().create_task(handler()))
    assert world.said == [(pytest.approx(2, abs=0.01), "slept"), (pytest.approx(5, abs=0.01), "timed out")]


def test_a_task_can_be_canceled_and_waits_for_others(world: World) -> None:
    async def child() -> None:
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            world.said.append("canceled")
            raise

    async def parent() -> None:
        task = asyncio.create_task(child())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        world.said.append("over")

    on_loop(world, lambda: asyncio.get_running_loop().create_task(parent()))
    assert world.said == ["canceled", "over"]


def test_what_a_callback_raises_is_kept_as_a_finding(world: World) -> None:
    on_loop(world, lambda: dict[str, int]()["missing"])
    assert isinstance(world.scheduler.escaped[0][1], KeyError)


def test_the_tasks_of_a_dead_process_are_silent(world: World) -> None:
    async def handler() -> None:
        await asyncio.sleep(50)
        world.said.append("never")

    world.scheduler.at(NANOSECONDS, None, lambda: world.scheduler.kill(world.process, -9))
    on_loop(world, lambda: asyncio.get_running_loop().create_task(handler()))
    assert world.said == []


# The servers and the faults of calls to them.


def pending(kind: CallFault, *, after: bool, seconds: float = 0.0) -> PendingFault:
    return PendingFault(kind=kind, after=after, skip=0, seconds=seconds, strike=lambda: None)


class Servers:
    """Both servers, as the world's one process sees them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.call_faults = CallFaults()
        self.recorder = SimulatedRecorder(world.scheduler)
        self.redis = RedisServer(world.runtime, lambda books, call: None)
        self.postgres = PostgresServer(world.runtime)
        network = Network(world.runtime, world.process, self.call_faults)
        self.queue = SimulatedQueue(self.redis, world.runtime, self.recorder, world.process, network)
        self.engine = SimulatedDatabase.as_engine(self.postgres, self.recorder, world.process, network)

    def register(self) -> None:
        """A call to Redis that can be seen from outside."""
        try:
            self.queue.register("w", "identity")
            self.world.said.append("answered")
        except redis.ConnectionError:
            self.world.said.append("no answer")

    def write(self) -> None:
        """A transaction that can be seen from outside."""
        try:
            with self.engine.begin() as connection:
                connection.execute(text("CREATE TABLE IF NOT EXISTS probe (x)"))
                connection.execute(text("INSERT INTO probe VALUES (1)"))
            self.world.said.append("committed")
        except OperationalError as error:
            self.world.said.append("no answer" if error.connection_invalidated else error)

    def written(self) -> int:
        """How often `write` took effect; resets the count."""
        with self.postgres.engine.begin() as connection:
            connection.execute(text("CREATE TABLE IF NOT EXISTS probe (x)"))
            count = connection.execute(text("SELECT count(*) FROM probe")).scalar_one()
            connection.execute(text("DROP TABLE probe"))
        return int(count)


@pytest.fixture
def servers(world: World) -> Iterator[Servers]:
    servers = Servers(world)
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
    world: World, servers: Servers, kind: CallFault, after: bool, said: str | None, effect: bool
) -> None:
    servers.call_faults.add(world.process, pending(kind, after=after, seconds=3))
    world.run(servers.register)
    assert world.said == ([] if said is None else [said])
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
    world: World, servers: Servers, kind: CallFault, after: bool, said: str | None, effect: int
) -> None:
    servers.call_faults.add(world.process, pending(kind, after=after, seconds=3))
    world.run(servers.write)
    assert world.said == ([] if said is None else [said])
    assert servers.written() == effect


def test_a_late_request_arrives_after_its_sender_has_given_up(world: World, servers: Servers) -> None:
    servers.call_faults.add(world.process, pending(CallFault.LATE_REQUEST, after=False, seconds=3))
    world.run(servers.register, until=1)
    assert world.said == ["no answer"]
    assert servers.redis.memory.registered() == {}
    world.scheduler.run(5 * NANOSECONDS)
    assert servers.redis.memory.registered() == {"w": "identity"}


def test_a_server_that_is_away_refuses_and_comes_back(world: World, servers: Servers) -> None:
    servers.redis.go_away(2)
    servers.postgres.go_away(2)
    world.run(servers.register, servers.write, until=1)
    assert world.said == ["no answer", "no answer"]
    world.scheduler.run(3 * NANOSECONDS)
    world.said.clear()
    world.run(servers.register, servers.write)
    assert sorted(map(str, world.said)) == ["answered", "committed"]
    servers.written()


def test_a_failover_brings_back_what_was_saved(world: World, servers: Servers) -> None:
    servers.redis.memory.register("before", "x")
    servers.redis.save(1)
    servers.redis.memory.register("after", "x")
    servers.redis.fall_back(1)
    assert set(servers.redis.memory.registered()) == {"before"}


@pytest.mark.parametrize("shift", [None, "-2.0 seconds", "0.25 seconds", "90061.5 seconds"])
def test_the_virtual_strftime_agrees_with_sqlites(world: World, servers: Servers, shift: str | None) -> None:
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


def test_the_virtual_julianday_agrees_with_sqlites(world: World, servers: Servers) -> None:
    with sqlite3.connect(":memory:") as real, servers.postgres.engine.connect() as connection:
        for when in ("2027-01-15 08:00:00.250000", "1999-12-31 23:59:59.999000"):
            own = real.execute("SELECT julianday(?)", [when]).fetchone()[0]
            ours = connection.exec_driver_sql("SELECT julianday(?)", (when,)).scalar_one()
            assert ours == pytest.approx(own, abs=1e-8)
        assert connection.exec_driver_sql("SELECT julianday(NULL)").scalar_one() is None
    real.close()


# The watcher of the books.


def test_sound_books_have_no_breach(world: World) -> None:
    assert list(breaches(books_with_one_lease(world))) == []


def test_a_task_in_two_places_or_none_and_a_lease_without_a_holder_are_breaches(world: World) -> None:
    twice, nowhere, unowned = (books_with_one_lease(world) for _ in range(3))
    (task,) = twice.job
    twice.ready[0].append(task)
    nowhere.job[world.runtime.new_id()] = Job(0, b"")
    unowned.holder.clear()
    assert [bool(list(breaches(books))) for books in (twice, nowhere, unowned)] == [True] * 3


def test_two_leases_of_one_lock_key_are_a_breach(world: World) -> None:
    books = books_with_one_lease(world)
    other = world.runtime.new_id()
    books.job[other], books.holder[other] = Job(0, b""), Holder(2, "w")
    books.lease.add(other, 1)
    books.part = dict.fromkeys(books.job, "a")
    assert any("I11" in breach for breach in breaches(books))


def books_with_one_lease(world: World) -> Books:
    books, task = Books(), world.runtime.new_id()
    books.job[task], books.holder[task] = Job(0, b""), Holder(1, "w")
    books.lease.add(task, 1)
    return books


def test_a_dead_process_is_certainly_dead_and_a_living_one_is_not(world: World) -> None:
    identities = []

    def work() -> None:
        identities.append(world.runtime.identity())
        world.runtime.sleep(5)

    world.run(work, until=1)
    assert not world.runtime.is_certainly_dead(identities[0])
    world.scheduler.kill(world.process, -9)
    assert world.runtime.is_certainly_dead(identities[0])
    assert isinstance(world.process, Process)
