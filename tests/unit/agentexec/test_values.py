"""Identifiers, states, key names and leases: the values on which everything else is built."""

from __future__ import annotations

import re
import time
from dataclasses import fields
from itertools import pairwise
from uuid import RFC_4122

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentexec.identifiers import new_id
from agentexec.queue.keys import PLAIN_KEYS, PRIORITY_LEVELS, QueueKeys
from agentexec.queue.redis_queue import script_source
from agentexec.store.status import LEGAL, PENDING, TERMINAL, Status, is_legal, sources
from agentexec.worker.leases import HeldLeases
from tests.support.record import LEGAL_MOVES, OVER


def test_an_identifier_is_a_version_7_uuid_of_this_moment() -> None:
    before = time.time_ns() // 1_000_000
    ids = [new_id() for _ in range(1_000)]
    after = time.time_ns() // 1_000_000
    assert {(i.version, i.variant) for i in ids} == {(7, RFC_4122)}
    assert all(before <= i.int >> 80 <= after for i in ids)
    assert len(set(ids)) == 1_000


def test_identifiers_of_later_milliseconds_are_greater() -> None:
    ids = [new_id() for _ in range(2_000)]
    assert all(a < b for a, b in pairwise(ids) if a.int >> 80 != b.int >> 80)
    assert ids[0].int >> 80 <= ids[-1].int >> 80


def test_every_bit_that_is_free_is_random() -> None:
    ids = [new_id().int for _ in range(500)]
    fixed = sum(1 << bit for bit in range(80) if len({i >> bit & 1 for i in ids}) == 1)
    assert fixed == (0xF << 76) | (0b11 << 62), "the version and the variant"


def test_the_legal_moves_are_those_of_the_design() -> None:
    assert {(a.value, b.value) for a in Status for b in Status if is_legal(a, b)} == LEGAL_MOVES
    assert {status.value for status in TERMINAL} == OVER
    assert set(Status) == TERMINAL | PENDING
    assert set(LEGAL) == set(Status)
    assert all(status.terminal is (status in TERMINAL) for status in Status)
    assert sources("start") == {Status.QUEUED, Status.RUNNING}


def test_all_keys_of_a_queue_share_one_hash_tag_and_no_two_are_equal() -> None:
    keys = QueueKeys.of("a.b:c").all()
    assert {re.match(r"\{(.*?)\}:", key).group(1) for key in keys} == {"a.b:c"}  # type: ignore[union-attr]  # all match
    assert len(keys) == len(set(keys)) == len(PLAIN_KEYS) + PRIORITY_LEVELS
    assert not set(keys) & set(QueueKeys.of("a.b").all())


def test_the_scripts_take_their_keys_in_the_order_that_they_are_given_in() -> None:
    """The order stands in Python, in the comment of the shared script, and in its code: they agree."""
    source = script_source("step", flags=False)
    comment = source[source.index("KEYS:") : source.index("ARGV:")]
    documented = dict(re.findall(r"(\d+) (\w+)", comment.split("ready lists")[0]))
    names = [field.name for field in fields(QueueKeys) if field.name != "ready"]
    assert documented == {str(n): name for n, name in enumerate(names, 1)}
    assigned: dict[str, int] = {}
    for left, right in re.findall(r"^local ([A-Z, ]+) = (KEYS\[.*)$", source, re.MULTILINE):
        numbers = [int(n) for n in re.findall(r"KEYS\[(\d+)\]", right)]
        assigned |= dict(zip(left.split(", "), numbers, strict=True))
    assert assigned == {name.upper(): n for n, name in enumerate(names, 1)}
    assert f"local FIRST_READY = {len(names) + 1}\n" in source
    assert QueueKeys.of("q").all() == [f"{{q}}:{name}" for name in [*names, "p0", "p1"]]


def test_leases_number_entries_from_1_until_the_last_one() -> None:
    leases, task = HeldLeases(), new_id()
    leases.add(task, 7)
    assert [leases.number(task, 7) for _ in range(3)] == [1, 2, 3]
    assert leases.number(task, 7, last=True) == 4
    assert leases.number(task, 7) is None
    assert leases.number(task, 7, last=True) is None
    assert leases.tokens() == {task: 7}, "held until it is finished"


def test_leases_distinguish_a_token_from_an_older_one() -> None:
    leases, task = HeldLeases(), new_id()
    assert leases.number(task, 1) is None
    leases.add(task, 1)
    leases.number(task, 1)
    leases.add(task, 2)
    assert leases.number(task, 1) is None
    leases.remove(task, 1)
    assert (leases.tokens(), len(leases)) == ({task: 2}, 1)
    assert leases.number(task, 2) == 1
    leases.remove(task, 2)
    assert (leases.tokens(), len(leases)) == ({}, 0)


@given(st.lists(st.booleans(), max_size=20))
def test_no_number_is_given_twice_or_left_out(lasts: list[bool]) -> None:
    leases, task = HeldLeases(), new_id()
    leases.add(task, 1)
    numbers = [leases.number(task, 1, last=last) for last in lasts]
    given_out = [n for n in numbers if n is not None]
    assert given_out == list(range(1, len(given_out) + 1))


@pytest.mark.parametrize("name", ["enqueue", "step", "renew", "release", "cancel"])
def test_every_script_can_be_found_in_the_package(name: str) -> None:
    assert script_source(name, flags=False).startswith(script_source("step", flags=False)[:200])
