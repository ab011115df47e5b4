"""The plans that Postgres executes, with their pages and rows, as it reports them to the session itself."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, event

_SETTINGS = {
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
    "auto_explain.log_nested_statements": "on",  # foreign keys
    "client_min_messages": "notice",
}


@dataclass(frozen=True)
class ExecutedPlan:
    """The plan of one statement."""

    statement: str
    root: Mapping[str, Any]

    @property
    def pages(self) -> int:
        """Pages that the statement read, from memory or not."""
        return int(self.root["Shared Hit Blocks"] + self.root["Shared Read Blocks"])

    @property
    def filtered(self) -> int:
        """Rows that it read and left out because of a condition that no index has."""
        kinds = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
        return max(
            int(node.get(kind, 0) * node["Actual Loops"]) for node in _nodes(self.root) for kind in kinds
        )

    def read_whole(self, tables: Collection[str]) -> set[str]:
        """Those of the tables that it read from their beginning, without an index."""
        scans = (node for node in _nodes(self.root) if node["Node Type"].endswith("Seq Scan"))
        return {node["Relation Name"] for node in scans}.intersection(tables)


def executed_plans(engine: Engine, *, generic: bool) -> list[ExecutedPlan]:
    """A list to which each statement on a new connection of the engine adds its plan.

    With `generic`, all plans are for any parameter, as after some executions of a prepared statement.
    """
    plans: list[ExecutedPlan] = []

    def received(notice: Any) -> None:
        _, found, plan = (notice.message_primary or "").partition("plan:")
        if found:
            value = json.loads(plan)
            plans.append(ExecutedPlan(" ".join(value["Query Text"].split()), value["Plan"]))

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        before, connection.autocommit = connection.autocommit, True
        connection.execute("LOAD 'auto_explain'")
        for name, value in _SETTINGS.items():
            connection.execute(f"SET {name} = {value}")
        if generic:
            connection.execute("SET plan_cache_mode = force_generic_plan")
            connection.prepare_threshold = 0
        connection.autocommit = before
        connection.add_notice_handler(received)

    return plans


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)
