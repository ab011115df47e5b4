"""Passing a gate, from a handler: the other end of `harness.gate`.

The handler sends one line of JSON (`gate`, `pid`, `task`, `can`) to the Unix socket `HARNESS_GATE` and waits for the
reply: a line `open`, or before it actions of those that it `can` carry out.
"""

from __future__ import annotations

import json
import os
import socket

from .actions import ACTIONS, carry_out

HANDLER_DEADLINE_SECONDS = 3600.0
"""How long a handler waits at its gate.

The runner opens all gates when it heals the faults, and a runner that ends closes the connection. So this deadline is
only for a runner that hangs: a handler that gives up earlier would look like a failure of the system under test.
"""

_OPEN = "open"
_LONGEST_REPLY_BYTES = 64


class GateClosed(Exception):
    """A gate did not open in time, or its keeper is unreachable or has ended."""


async def pass_gate(address: str, gate: str, task: int, *, within: float = HANDLER_DEADLINE_SECONDS) -> None:
    """Announce this handler at a gate and return once the gate opens.

    Raises `GateClosed` if the keeper is unreachable, ends, or does not open the gate within `within` seconds. So a
    worker does not hang after the end of its runner.
    """
    import asyncio

    try:
        await asyncio.wait_for(_pass(address, gate, task), within)
    # Until Python 3.10, asyncio's TimeoutError is a class of its own.
    except (TimeoutError, asyncio.TimeoutError):
        raise _not_opened(gate, within) from None
    except OSError as error:
        raise _unreachable(gate, address, error) from None


async def _pass(address: str, gate: str, task: int) -> None:
    import asyncio

    reader, writer = await asyncio.open_unix_connection(address)
    try:
        writer.write(_announcement(gate, task))
        while not _opens(await reader.readline(), gate):
            pass
    finally:
        writer.close()


def pass_gate_blocking(
    address: str, gate: str, task: int, *, within: float = HANDLER_DEADLINE_SECONDS
) -> None:
    """`pass_gate` for handlers that run in threads or without an event loop."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
            end.settimeout(within)
            end.connect(address)
            end.sendall(_announcement(gate, task))
            with end.makefile("rb") as replies:
                while not _opens(replies.readline(_LONGEST_REPLY_BYTES), gate):
                    pass
    except (TimeoutError, socket.timeout):
        raise _not_opened(gate, within) from None
    except OSError as error:
        raise _unreachable(gate, address, error) from None


def _announcement(gate: str, task: int) -> bytes:
    return json.dumps({"gate": gate, "pid": os.getpid(), "task": task, "can": ACTIONS}).encode() + b"\n"


def _opens(reply: bytes, gate: str) -> bool:
    """Whether a reply opens the gate; carries it out if it is an action, after which the handler waits again."""
    if not reply.endswith(b"\n"):
        raise GateClosed(
            f"the keeper of the gate {gate!r} ended before it opened the gate. Check whether the runner still runs."
        )
    action = reply.decode("ascii").rstrip("\n")
    if action != _OPEN:
        carry_out(action)
    return action == _OPEN


def _not_opened(gate: str, within: float) -> GateClosed:
    return GateClosed(f"the gate {gate!r} was not opened within {within:g} s. Heal the fault that holds it.")


def _unreachable(gate: str, address: str, error: OSError) -> GateClosed:
    reason = error.strerror or type(error).__name__
    return GateClosed(
        f"the gate {gate!r} cannot be reached at {address} ({reason}). Check whether the runner still runs."
    )
