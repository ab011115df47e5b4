"""The gates between runner and handlers, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from harness.errors import GateError
from harness.gate import GateKeeper
from harness.kit.harness_worker.actions import EXIT_CODE, ORPHAN_SECONDS
from harness.kit.harness_worker.gates import GateClosed, pass_gate, pass_gate_blocking
from harness.processes import descendants, is_alive

WAITER = """
import sys
from harness.kit.harness_worker.gates import pass_gate_blocking
pass_gate_blocking(sys.argv[1], sys.argv[2], int(sys.argv[3]))
"""


@pytest.fixture
def address() -> Iterator[Path]:
    # Not tmp_path: its names grow past what a Unix socket may be called.
    with tempfile.TemporaryDirectory(prefix="hx-") as folder:
        yield Path(folder) / "gate"


@pytest.fixture
def keeper(address: Path) -> Iterator[GateKeeper]:
    with GateKeeper(address) as keeper:
        yield keeper


def waiter(keeper: GateKeeper, gate: str, task: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WAITER, keeper.address, gate, str(task)])


def until(condition: Callable[[], bool], within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)


def test_the_handlers_of_a_process_pass_and_their_gates_are_given_up(keeper: GateKeeper) -> None:
    with waiter(keeper, "early", 1) as stopped, waiter(keeper, "door", 2) as other:
        keeper.wait_for("early", within=20)
        keeper.wait_for("door", within=20)
        keeper.let_pass([stopped.pid], "its pool was stopped")
        assert stopped.wait(20) == 0
        with pytest.raises(GateError, match="its pool was stopped"):
            keeper.wait_for("early", within=20)
        assert other.poll() is None
        keeper.let_pass([os.getpid()], "its pool was stopped too")
        pass_gate_blocking(keeper.address, "late", 3)
        keeper.open("door")
        assert other.wait(20) == 0


def test_a_waiting_process_is_named_and_goes_on_when_the_gate_opens(keeper: GateKeeper) -> None:
    with waiter(keeper, "door", 7) as process:
        [arrival] = keeper.wait_for("door", within=20)
        assert (arrival.gate, arrival.pid, arrival.task) == ("door", process.pid, 7)
        assert process.poll() is None
        keeper.open("door")
        assert process.wait(20) == 0
    assert keeper.waiting() == []


def test_a_waiter_that_is_killed_is_forgotten_and_its_successor_is_known(keeper: GateKeeper) -> None:
    with waiter(keeper, "door", 1) as process:
        keeper.wait_for("door", within=20)
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: keeper.waiting() == [])
    with waiter(keeper, "door", 1) as successor:
        [arrival] = keeper.wait_for("door", within=20)
        assert arrival.pid == successor.pid
        keeper.open("door")
        assert successor.wait(20) == 0


def test_an_open_gate_lets_later_arrivals_through_at_once(keeper: GateKeeper) -> None:
    keeper.open("door")
    pass_gate_blocking(keeper.address, "door", 1, within=5)


def test_opening_one_gate_leaves_the_others_shut(keeper: GateKeeper) -> None:
    keeper.open("front")
    with pytest.raises(GateClosed, match=r"'back' was not opened within 0.05 s"):
        pass_gate_blocking(keeper.address, "back", 1, within=0.05)


def test_opening_all_gates_frees_every_handler(keeper: GateKeeper) -> None:
    async def run() -> None:
        handlers = [
            asyncio.create_task(pass_gate(keeper.address, f"gate-{n}", n, within=20)) for n in range(5)
        ]
        for n in range(5):
            await asyncio.to_thread(keeper.wait_for, f"gate-{n}", within=20)
        keeper.open_all()
        await asyncio.gather(*handlers)
        await pass_gate(keeper.address, "never mentioned", 9, within=5)

    asyncio.run(run())


def test_waiting_for_several_handlers_names_them_all(keeper: GateKeeper) -> None:
    threads = [
        threading.Thread(target=pass_gate_blocking, args=(keeper.address, "door", n)) for n in (1, 2, 3)
    ]
    for thread in threads:
        thread.start()
    arrivals = keeper.wait_for("door", count=3, within=20)
    keeper.open("door")
    for thread in threads:
        thread.join(20)
    assert sorted(arrival.task for arrival in arrivals) == [1, 2, 3]


def test_a_wait_without_an_arrival_raises(keeper: GateKeeper) -> None:
    with pytest.raises(GateError, match=r"0 of 1 handler arrived at gate 'door' within 0.05 s"):
        keeper.wait_for("door", within=0.05)


def test_a_handler_whose_runner_is_gone_fails_instead_of_hanging(address: Path) -> None:
    with pytest.raises(GateClosed, match="cannot be reached"):
        asyncio.run(pass_gate(str(address), "door", 1))
    with pytest.raises(GateClosed, match="cannot be reached"):
        pass_gate_blocking(str(address), "door", 1)


def test_a_handler_that_waits_when_the_runner_goes_fails_instead_of_hanging(keeper: GateKeeper) -> None:
    async def run() -> None:
        handler = asyncio.create_task(pass_gate(keeper.address, "door", 1, within=20))
        await asyncio.to_thread(keeper.wait_for, "door", within=20)
        await asyncio.to_thread(keeper.close)
        with pytest.raises(GateClosed, match="ended before it opened"):
            await handler

    asyncio.run(run())


def test_a_canceled_handler_leaves_the_gate(keeper: GateKeeper) -> None:
    async def run() -> None:
        handler = asyncio.create_task(pass_gate(keeper.address, "door", 1, within=20))
        await asyncio.to_thread(keeper.wait_for, "door", within=20)
        handler.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handler
        await asyncio.to_thread(until, lambda: keeper.waiting() == [])

    asyncio.run(run())


def test_a_peer_with_another_protocol_is_disconnected(keeper: GateKeeper) -> None:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(20)
        stranger.connect(keeper.address)
        stranger.sendall(b"GET / HTTP/1.1\r\n")
        assert stranger.recv(10) == b""
    assert keeper.waiting() == []


def test_closing_removes_the_socket_and_may_be_done_twice(address: Path) -> None:
    keeper = GateKeeper(address)
    assert address.exists()
    keeper.close()
    keeper.close()
    assert not address.exists()


def test_a_folder_with_too_long_a_name_is_refused_with_the_remedy() -> None:
    with pytest.raises(GateError, match="TMPDIR"):
        GateKeeper(Path("/tmp") / ("x" * 120))


def test_a_handler_exits_when_it_is_asked_to_and_the_gate_stays_closed(keeper: GateKeeper) -> None:
    with waiter(keeper, "door", 1) as first:
        keeper.wait_for("door", within=20)
        keeper.act("door", "exit")
        assert first.wait(20) == EXIT_CODE
    with waiter(keeper, "door", 1) as second:
        keeper.wait_for("door", within=20)
        assert second.poll() is None
        keeper.open("door")
        assert second.wait(20) == 0


def test_a_handler_blocks_its_thread_and_goes_on(keeper: GateKeeper) -> None:
    passed = threading.Thread(target=lambda: asyncio.run(blocked()))
    ticks: list[float] = []

    async def blocked() -> None:
        async def tick() -> None:
            while True:
                ticks.append(time.monotonic())
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        await pass_gate(keeper.address, "door", 1, within=20)
        await asyncio.sleep(0.05)
        ticking.cancel()

    passed.start()
    keeper.wait_for("door", within=20)
    keeper.act("door", "block 0.5")
    keeper.open("door")
    passed.join(20)
    assert not passed.is_alive()
    assert max(after - before for before, after in pairwise(ticks)) >= 0.5, "the event loop stood still"


def test_a_handler_leaves_a_child_that_outlives_it_and_ends(keeper: GateKeeper) -> None:
    with waiter(keeper, "door", 1) as process:
        keeper.wait_for("door", within=20)
        keeper.act("door", "fork")
        until(lambda: bool(descendants(process.pid)))
        [child] = descendants(process.pid)
        assert len(keeper.wait_for("door", within=20)) == 1, "it waits there again"
        process.kill()
        process.wait(20)
        assert is_alive(child)
        until(lambda: not is_alive(child), within=ORPHAN_SECONDS + 20)


@pytest.mark.parametrize("line", [b'"can": "exit"', b'"can": [7, null]', b'"cannot": []'])
def test_a_handler_that_cannot_act_is_left_at_its_gate(keeper: GateKeeper, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(keeper.address)
        end.sendall(b'{"gate": "door", "pid": 7, "task": 1, ' + line + b"}\n")
        keeper.wait_for("door", within=20)
        with pytest.raises(GateError, match="no handler at gate 'door' can exit"):
            keeper.act("door", "exit")
        keeper.open("door")
        assert end.recv(64) == b"open\n"
