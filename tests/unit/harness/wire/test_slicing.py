"""Parsers of the wire find the same commands and replies however the bytes are sliced."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.wire.commands import Conversation, Reply, SeenCommand, Unreadable
from harness.wire.postgres import PostgresConversation, sql_name
from harness.wire.resp import RespConversation

Found = TypeVar("Found", SeenCommand, Reply)

WORDS = st.binary(max_size=300)
COMMANDS = st.lists(
    st.tuples(
        st.sampled_from([b"SET", b"EVALSHA", b"MULTI", b"client", b"PING"]), st.lists(WORDS, max_size=6)
    ),
    max_size=8,
)
SLICES = st.lists(st.integers(1, 40), max_size=60)


def resp(words: Sequence[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def resp_value() -> st.SearchStrategy[bytes]:
    line = st.sampled_from(
        [b"+OK\r\n", b"-ERR no\r\n", b":12\r\n", b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"#t\r\n"]
    )
    bulk = WORDS.map(lambda word: b"$%d\r\n%s\r\n" % (len(word), word))

    def nested(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
        lists = st.lists(inner, max_size=4)
        return lists.map(lambda found: b"*%d\r\n" % len(found) + b"".join(found)) | lists.map(
            lambda found: b"%%%d\r\n" % (len(found) // 2) + b"".join(found[: len(found) // 2 * 2])
        )

    return st.recursive(line | bulk, nested, max_leaves=12)


def sliced(
    read: Callable[[bytes], list[Found]], text: bytes, lengths: Sequence[int]
) -> list[tuple[Found, int]]:
    """What is found in slices, each with its end in the whole text."""
    found, position = [], 0
    for length in [*lengths, len(text)]:
        piece = text[position : position + length]
        if piece:
            found += [(one, position + one.end) for one in read(piece)]
        position += length
    return found


def same(make: Callable[[], Conversation], asked: bytes, answered: bytes, lengths: Sequence[int]) -> None:
    whole, cut = make(), make()
    commands, replies = sliced(whole.requests, asked, ()), sliced(whole.replies, answered, ())
    sliced_commands = sliced(cut.requests, asked, lengths)
    assert [(one.number, one.name, end) for one, end in sliced_commands] == [
        (one.number, one.name, end) for one, end in commands
    ]
    assert all(0 <= one.start < one.end for one, _ in sliced_commands)
    assert [(one.number, one.settled, end) for one, end in sliced(cut.replies, answered, lengths)] == [
        (one.number, one.settled, end) for one, end in replies
    ]


@given(commands=COMMANDS, replies=st.lists(resp_value(), max_size=8), lengths=SLICES)
def test_redis(commands: list[tuple[bytes, list[bytes]]], replies: list[bytes], lengths: list[int]) -> None:
    asked = [[verb, *words] for verb, words in commands if words[:1] != [b"REPLY"]]
    same(RespConversation, b"".join(map(resp, asked)), b"".join(replies), lengths)
    conversation = RespConversation()
    assert len(conversation.requests(b"".join(map(resp, asked)))) == len(asked)
    assert len(conversation.replies(b"".join(replies))) == min(len(asked), len(replies))


def message(kind: bytes, content: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(content) + 4) + content


OPTIONS = b"user\0me\0application_name\0ax\0\0"
STARTUP = struct.pack("!II", 8 + len(OPTIONS), 196_608) + OPTIONS
TO_SERVER = st.lists(
    st.sampled_from(
        [
            message(b"Q", b"INSERT INTO t VALUES (1)\0"),
            message(b"P", b"s\0UPDATE u SET a = 1\0\0\0"),
            message(b"B", b"\0s\0\0\0\0\0\0\0"),
            message(b"D", b"P\0"),
            message(b"E", b"\0\0\0\0\0"),
            message(b"S"),
            message(b"H"),
            message(b"d", b"x" * 500),
            message(b"c"),
        ]
    ),
    max_size=12,
)
TO_CLIENT = st.lists(
    st.sampled_from(
        [
            *(message(b"T", b"x" * 40), message(b"D", b"y" * 90), message(b"C", b"INSERT 0 1\0")),
            *(message(b"E", b"error\0"), message(b"N", b"notice\0"), message(b"Z", b"I")),
            *map(message, (b"I", b"1", b"2")),
        ]
    ),
    max_size=12,
)


@given(asked=TO_SERVER, answered=TO_CLIENT, lengths=SLICES)
def test_postgres(asked: list[bytes], answered: list[bytes], lengths: list[int]) -> None:
    same(PostgresConversation, STARTUP + b"".join(asked), b"".join(answered), lengths)


@given(lengths=SLICES)
def test_a_request_for_encryption_is_refused_in_any_slices(lengths: list[int]) -> None:
    conversation, text = PostgresConversation(), struct.pack("!II", 8, 80_877_103) + STARTUP
    forwarded = answer = b""
    position = 0
    for length in [*lengths, len(text)]:
        passed, answered = conversation.refused(text[position : position + length])
        forwarded, answer, position = forwarded + passed, answer + answered, position + length
    assert (forwarded, answer) == (STARTUP, b"N")


@pytest.mark.parametrize("make", [RespConversation, PostgresConversation])
def test_bytes_of_another_protocol_are_unreadable(make: Callable[[], Conversation]) -> None:
    with pytest.raises(Unreadable):
        make().requests(b"\x16\x03\x01" + b"*" * 70_000)


def test_replies_and_messages_of_a_subscriber_are_told_apart() -> None:
    conversation = RespConversation()
    conversation.requests(resp([b"SUBSCRIBE", b"a", b"b"]) + resp([b"PING"]))
    confirmed = [resp([b"subscribe", b"a"]), resp([b"subscribe", b"b"])]
    pushed = resp([b"message", b"a", b"hello"])
    assert conversation.replies(confirmed[0] + pushed) == []
    assert [one.number for one in conversation.replies(confirmed[1])] == [1]
    assert [one.number for one in conversation.replies(pushed + resp([b"pong", b""]))] == [2]


def test_confirmations_of_the_end_of_all_subscriptions_are_no_replies_to_later_commands() -> None:
    conversation = RespConversation()
    conversation.requests(resp([b"UNSUBSCRIBE"]) + resp([b"PING"]))
    ended = [resp([b"unsubscribe", channel]) for channel in (b"a", b"b", b"c")]
    assert [one.number for one in conversation.replies(b"".join(ended))] == [1]
    assert [one.number for one in conversation.replies(b"+PONG\r\n")] == [2]


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("SELECT 1", "SELECT"),
        ("select * from a.b where c", "SELECT a.b"),
        ("SELECT fetch_job($1)", "SELECT fetch_job"),
        ("COPY t (a) FROM STDIN", "COPY t"),
        ("WITH x AS (UPDATE a SET b = 1 RETURNING *) INSERT INTO c SELECT * FROM x", "UPDATE a + INSERT c"),
        ("SELECT * FROM a FOR UPDATE SKIP LOCKED", "SELECT a"),
        ('INSERT INTO "a" VALUES (1) ON CONFLICT DO UPDATE SET b = 1 -- UPDATE z', "INSERT a"),
        ("COMMIT;", "COMMIT"),
    ],
)
def test_the_name_of_a_statement(statement: str, name: str) -> None:
    assert sql_name(statement.encode()) == name
