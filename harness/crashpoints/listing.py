"""The commands of a life, found by living it without any strike."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from harness.crashpoints.lane import StrikeLane
from harness.crashpoints.lives import LIVES, Life
from harness.crashpoints.living import AFTER_SECONDS, live, patience
from harness.crashpoints.points import PRODUCER, Point, stable_name
from harness.environments.base import WATCHING, Service
from harness.errors import HarnessError
from harness.wire import Command

_IDLE_SECONDS = 2.5


class LifeDidNotEnd(HarnessError):
    """A life ended badly although nothing was struck."""


def points_of(lane: StrikeLane, life: Life, *, background: bool) -> list[Point]:
    """The commands of one life, in order.

    With `background`, also those that are sent without any task. Without it, clients that send nothing else are left
    out. The life is lived once before, so that connections are open and statements are prepared, as they are later.
    """
    if life.starts:
        return _points_of_start(lane, life)
    _live_to_the_end(lane, life)
    _back_to_normal(lane)
    idle = _watched(lane, _idle)
    usual = Counter(point.kind for point in idle)
    began = time.monotonic()
    first = _watched(lane, lambda: _live_to_the_end(lane, life))
    seconds = time.monotonic() - began
    _back_to_normal(lane)
    # What does not come again was by chance in this life: a command that is sent twice a minute, for example.
    again = set(_watched(lane, lambda: _live_to_the_end(lane, life)))
    _back_to_normal(lane)
    points = [replace(point, life=life.name) for point in first if point in again]
    if background:
        idle_again = {point.kind for point in _watched(lane, _idle)}
        known = {point.kind for point in points}
        others = {
            point.kind: replace(point, life=life.name, number=0)
            for point in reversed(idle)
            if point.kind in idle_again
        }
        return points + [point for key, point in others.items() if key not in known]
    sent = Counter(point.kind for point in points)
    more = {
        key[:3]
        for key, number in sent.items()
        if number > usual[key] * seconds / _IDLE_SECONDS + bool(usual[key])
    }
    return [point for point in points if point.kind[:3] in more]


def _points_of_start(lane: StrikeLane, life: Life) -> list[Point]:
    """The commands of a process that starts, each at its first occurrence."""
    found = _watched(lane, lambda: _live_to_the_end(lane, life))
    _back_to_normal(lane)
    again = {point.kind for point in _watched(lane, lambda: _live_to_the_end(lane, life))}
    _back_to_normal(lane)
    first = {
        point.kind: point for point in reversed(found) if point.role == life.starts and point.kind in again
    }
    in_order = sorted(first.values(), key=lambda point: (point.service, point.number))
    return [replace(point, life=life.name) for point in in_order]


def without_repeated(points: Sequence[Point]) -> list[Point]:
    """The points without those of lives that add only what no other life has (`Life.only_own`).

    What several operators send is struck in the life of each.
    """
    known = {("", point.kind) for point in points if not LIVES[point.life].only_own}
    found = []
    for point in points:
        life = LIVES[point.life]
        if life.only_own:
            key = (life.name if life.action else "", point.kind)
            if not known.isdisjoint({("", point.kind), key}):
                continue
            known.add(key)
        found.append(point)
    return found


def _back_to_normal(lane: StrikeLane) -> None:
    lane.recover()
    if not lane.finish(patience(lane)):
        raise LifeDidNotEnd(
            f"A life without any strike did not end within {patience(lane):g} s. Check the target."
        )
    time.sleep(AFTER_SECONDS)


Watched = Mapping[tuple[str, Service], Sequence[Command]]
"""The commands of each side to each server."""


def _live_to_the_end(lane: StrikeLane, life: Life) -> Watched:
    """Live once, to the end of the tasks.

    The client of an adapter also sends what the harness asks for while it waits for that end; returned is what such a
    client has sent before, and nothing for other producers.
    """
    lane.end(life.starts)
    for wire in lane.wires.values():
        wire.watch()
    live(lane, life, life.tasks(lane.take(life.count)))
    sent = {} if lane.can_kill_producer else {key: lane.wires[key].watched() for key in lane.wires}
    lane.finish(patience(lane))
    time.sleep(AFTER_SECONDS)
    return {key: commands for key, commands in sent.items() if key[0] == PRODUCER}


def _idle() -> Watched:
    time.sleep(_IDLE_SECONDS)
    return {}


def _watched(lane: StrikeLane, action: Callable[[], Watched]) -> list[Point]:
    """The commands that are sent during an action, or that the action returns."""
    names = lane.names
    for wire in lane.wires.values():
        wire.watch()
    given = action()
    found = []
    for (role, service), wire in lane.wires.items():
        seen: Counter[tuple[str, str]] = Counter()
        for command in given.get((role, service), wire.watched()):
            client = stable_name(command.client.name)
            if client.startswith(WATCHING):
                continue
            seen[client, command.name] += 1
            found.append(
                Point(
                    life="",
                    role=role,
                    service=service,
                    client=client,
                    name=names.shown(service, command.name),
                    occurrence=seen[client, command.name],
                    number=command.number,
                )
            )
    return found
