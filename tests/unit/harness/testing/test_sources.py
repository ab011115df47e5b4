"""What a source gives, in the form in which it is recorded and judged again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from harness.errors import UsageError
from harness.testing.sources import as_found, http_source

ID = UUID(int=7)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({ID: Decimal("2")}, {"mapping": [[str(ID), 2]]}),
        ({ID.hex: 1, str(ID).upper()[:-1] + "8": 2}, {"mapping": [[str(ID), 1], [str(UUID(int=8)), 2]]}),
        ({b"12": b"3", b"x": b"y"}, {"mapping": [[12, 3], ["x", "y"]]}),
        ([(b"a", 1.0), (b"b", 2.0)], {"mapping": [["a", 1.0], ["b", 2.0]]}),
        ([ID, None], {"value": [str(ID), None]}),
        ([(1, 2, 3)], {"value": [[1, 2, 3]]}),
        ([], {"value": []}),
        ({}, {"mapping": []}),
        ({b"b", b"a"}, {"value": ["a", "b"]}),
        (Decimal("1.5"), {"value": 1.5}),
        (datetime(2026, 1, 2, tzinfo=UTC), {"value": "2026-01-02T00:00:00+00:00"}),
        ({"a": {"b": [Decimal(1)]}}, {"mapping": [["a", {"b": [1]}]]}),
        (b"-4", {"value": -4}),
    ],
)
def test_values_become_json_with_ids_as_text(given: Any, found: dict[str, Any]) -> None:
    assert as_found(given) == found
    assert json.loads(json.dumps(found)) == found


def test_a_key_that_comes_twice_is_refused_since_a_mapping_would_hide_one() -> None:
    with pytest.raises(ValueError, match=r"twice\. Write one row for each, as with GROUP BY"):
        as_found([(ID, 1), (str(ID), 1)])


@pytest.mark.parametrize("url", ["file:///etc/passwd", "shop.example/state", ""])
def test_only_pages_are_read_over_http(url: str) -> None:
    with pytest.raises(UsageError, match="is no URL of a page"):
        http_source(url)
