"""Triggers that a database administrator has added: they refuse one result and one report, whatever else is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from agentexec.store.dialects import ACTIVITY_TABLE, LOG_TABLE

REFUSED_RESULT, REFUSED_REPORT = "refused by a trigger", "A report that a trigger refuses."
_OF_RESULT = f"TRIGGER refused_result BEFORE UPDATE ON {ACTIVITY_TABLE} FOR EACH ROW WHEN (NEW.result ="
_OF_REPORT = f"TRIGGER refused_report BEFORE INSERT ON {LOG_TABLE} FOR EACH ROW WHEN (NEW.message ="
_ABORT = "BEGIN SELECT RAISE(ABORT, 'a trigger refuses it'); END"
_RAISE = "EXECUTE FUNCTION refuse()"

TRIGGERS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "sqlite": [
            f"CREATE {_OF_RESULT} '\"{REFUSED_RESULT}\"') {_ABORT}",
            f"CREATE {_OF_REPORT} '{REFUSED_REPORT}') {_ABORT}",
        ],
        "postgresql": [
            """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN RAISE EXCEPTION ''a trigger refuses it''; END'""",
            f"CREATE {_OF_RESULT} '\"{REFUSED_RESULT}\"'::jsonb) {_RAISE}",
            f"CREATE {_OF_REPORT} '{REFUSED_REPORT}') {_RAISE}",
        ],
    }
)
"""The statements that create them, by the name of the dialect."""
