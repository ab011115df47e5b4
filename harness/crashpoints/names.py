"""The names of commands in a table, and on the wires of a lane."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_OF_LANE = re.compile(r"(hx[-_]lane[-_])(?:\d+|\*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandNames:
    """The names in the lane `number`; `better` has the target's names of commands, by those of the wires.

    A system may call a schema of Postgres after its queue. The wire of Redis leaves the numbers of keys out by itself.
    """

    number: int
    better: Mapping[str, str] = field(default_factory=dict)

    def shown(self, service: str, name: str) -> str:
        """The name in the table, the same in all lanes."""
        better = self.better.get(name, name)
        return _OF_LANE.sub(r"\1*", better) if service == "postgres" else better

    def sent(self, service: str, name: str) -> str:
        """The name on the wires of this lane, by that in the table."""
        plain = {better: plain for plain, better in self.better.items()}.get(name, name)
        return _OF_LANE.sub(rf"\g<1>{self.number}", plain) if service == "postgres" else plain
