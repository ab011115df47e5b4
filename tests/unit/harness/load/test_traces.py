"""Traces: the formats of the public ones, the project's own, and what is wrong with a line."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.load.traces import Size, TraceRow, read_trace, write_trace

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:01+00:00,2399,6
"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45.0,GPT-4,1087,0,1087,API log
"""
MOONCAKE = """{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}
{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46]}
"""
# The second invocation began first, and ended last.
FUNCTIONS_2021 = """app,func,end_timestamp,duration
a1,f1,5160.5,0.134
a2,f2,5241.0,100.0
a1,f2,5219.5,0.5
"""
FUNCTIONS_2019 = """HashOwner,HashApp,HashFunction,Trigger,1,2,3,4
o1,a1,f1,queue,0,2,0,0
o1,a1,f2,http,0,1,0,4
"""
OWN = """offset_seconds,size,task
1.5,100,ask
2,,
"""


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (AZURE, [(0, Size(374, 44), None), (4.314579, Size(396, 109), None)]),
        (AZURE_2024, [(0, Size(2162, 5), None), (0.99007, Size(2399, 6), None)]),
        (BURSTGPT, [(0, Size(472, 18), None), (40, Size(1087, 0), None)]),
        (MOONCAKE, [(0, Size(6955, 52), None), (3.053, Size(6472, 26), None)]),
        (
            FUNCTIONS_2021,
            [(0, Size(100_000), "a2/f2"), (19.366, Size(134), "a1/f1"), (78, Size(500), "a1/f2")],
        ),
        (
            FUNCTIONS_2019,
            [(0, None, "a1/f1"), (15, None, "a1/f2"), (30, None, "a1/f1")]
            + [(112.5 + 15 * number, None, "a1/f2") for number in range(4)],
        ),
        (OWN, [(1.5, Size(100), "ask"), (2, None, None)]),
        ("offset_seconds\n0\n", [(0, None, None)]),
        ("\ufeff" + OWN.replace("\n", "\r\n"), [(1.5, Size(100), "ask"), (2, None, None)]),
    ],
)
def test_the_format_is_found_by_the_first_line(
    text: str, rows: list[tuple[float, Size | None, str | None]], tmp_path: Path
) -> None:
    path = tmp_path / "trace"
    path.write_text(text, encoding="utf-8", newline="")
    found = [(round(row.offset, 5), row.size, row.task) for row in read_trace(path)]
    assert found == [(round(offset, 5), size, task) for offset, size, task in rows]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (AZURE + "2023-11-16 18:15:51,,1\n", "Line 4 of the trace"),
        (FUNCTIONS_2021 + "a1,f1,5160.5,-1\n", "Line 5 of the trace"),
        (FUNCTIONS_2021 + "a1,f1,nan,1\n", "Line 5 of the trace"),
        (FUNCTIONS_2019 + "o1,a1,f3,http,0,1.5,0,0\n", "Line 4 of the trace"),
        (FUNCTIONS_2019 + "o1,a1,f3,http,0,-1,0,0\n", "no whole number of 0 or more"),
        (FUNCTIONS_2019.replace("2,0,0", "0,0,0").replace("1,0,4", "0,0,0"), "has no arrival"),
        (
            AZURE + "2023-11-16 18:15:51,x,1\n",
            "format Azure ('x' is no whole number of 0 or more)",
        ),
        (AZURE + "yesterday,1,1\n", "Line 4 of the trace"),
        (AZURE + "2023-11-16 18:15:51,1\n", "has 2 cells instead of 3; correct or remove it."),
        (AZURE + "2023-11-16 18:15:49,1,1\n", "is earlier than the line before it"),
        (BURSTGPT + "nan,GPT-4,1,1,2,API log\n", "Line 4 of the trace"),
        (BURSTGPT + "46,GPT-4,-1,1,2,API log\n", "is no whole number of 0 or more"),
        (MOONCAKE + "{}\n", "is no arrival of the format Mooncake (no 'timestamp')"),
        (MOONCAKE + "[1]\n", "Line 3 of the trace"),
        (MOONCAKE + "{\n", "is no JSON object"),
        (MOONCAKE + '{"a":' * 100_000 + "\n", "is no JSON object"),
        ("offset_seconds\n-1\n", "has a negative time"),
        ("offset_seconds\ninf\n", "has a time that is not finite"),
        ("offset_seconds\n", "has no arrival; give a file with at least one."),
        (
            "a,b\n1,2\n",
            "names no known columns; give a file with those of one format (harness: offset_seconds; Azure:",
        ),
        ("", "names no known columns"),
        ('offset_seconds\n"1\n', "is no CSV (unexpected end of data)"),
    ],
)
def test_a_wrong_line_is_named_with_its_number(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        list(read_trace(path))
    assert message in str(raised.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.gz"
    path.write_bytes(b"\x1f\x8b\xff\xfe")
    with pytest.raises(UsageError, match=r"is no UTF-8 text; give a CSV file or JSON lines\."):
        list(read_trace(path))


def test_a_trace_is_read_as_a_stream(tmp_path: Path) -> None:
    """No row waits for a later one, so no more of the file than a block has to be in memory."""
    path = tmp_path / "trace.csv"
    path.write_text("offset_seconds,size\n" + "1,1\n" * 10 + "x,1\n")
    rows = read_trace(path)
    assert [row.offset for row in islice(rows, 10)] == [1.0] * 10
    with pytest.raises(UsageError, match="Line 12 of the trace"):
        next(rows)


def test_what_is_exported_is_what_is_replayed(tmp_path: Path) -> None:
    begin = datetime(2026, 11, 27, tzinfo=UTC)
    rows = [(begin + timedelta(seconds=3 * n), "ask" if n % 2 else None, n or None) for n in range(4)]
    file = io.StringIO()
    assert write_trace(rows, file) == 4
    path = tmp_path / "trace.csv"
    path.write_text(file.getvalue())
    assert list(islice(read_trace(path), 2)) == [TraceRow(0, None, None), TraceRow(3, Size(1), "ask")]
    assert [row.offset for row in read_trace(path)] == [0, 3, 6, 9]
