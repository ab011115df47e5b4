"""The scores of the means, from what was judged."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.simulation.power import Density

DETECTED, ENDLESS, SURVIVED, UNREACHED = "detected", "endless", "survived", "unreached"
"""The outcomes. A limit of time ended an endless one, which counts as detected; no test and no schedule of the means
reached an unreached one, which counts as survived: the means runs another part of the same function."""
ALL = "all together"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one means says of one mutant, what showed it, and the processor time that this took."""

    mutant: str
    part: str
    means: str
    outcome: str
    detail: str
    seconds: float

    @property
    def detected(self) -> bool:
        """Whether the means noticed the mutant."""
        return self.outcome in {DETECTED, ENDLESS}


def append(path: Path, outcome: Outcome) -> None:
    """Add a line to the state of a run, after what an interrupted run left of its last line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as lines:
        lines.seek(max(0, lines.tell() - 1))
        begin = "" if lines.read() in (b"", b"\n") else "\n"
        lines.write(f"{begin}{json.dumps(asdict(outcome))}\n".encode())


def known(path: Path) -> dict[tuple[str, str], Outcome]:
    """What earlier runs judged, by mutant and means; raises `UsageError` for another file.

    A line that an interrupted run cut counts as not written.
    """
    lines = path.read_bytes().splitlines() if path.exists() else []
    found = []
    for line in lines:
        with suppress(ValueError):
            found.append(json.loads(line))
    try:
        return {(one.mutant, one.means): one for one in (Outcome(**value) for value in found)}
    except TypeError:
        raise UsageError(
            f"{path} holds no judgements of mutants. Name the --state of an earlier run."
        ) from None


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """The score of each means alone and of all together, over all parts and for each, as lines of a page."""
    rows = [
        "| means | part | judged | detected | endless | survived | unreached | score | 95 % interval |",
        "|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for means in [*dict.fromkeys(one.means for one in outcomes), ALL]:
        own = [one for one in outcomes if one.means == means] if means != ALL else together(outcomes)
        parts = dict.fromkeys(one.part for one in own)
        rows.append(_row(means, "all", own))
        rows += [_row("", part, [one for one in own if one.part == part]) for part in parts if len(parts) > 1]
    return rows


def together(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """For each mutant the outcome of the means that noticed it, or of one that did not."""
    best: dict[str, Outcome] = {}
    order = (DETECTED, ENDLESS, SURVIVED, UNREACHED)
    for one in sorted(outcomes, key=lambda one: order.index(one.outcome)):
        best.setdefault(one.mutant, one)
    return [best[name] for name in dict.fromkeys(one.mutant for one in outcomes)]


def survivors(outcomes: Sequence[Outcome], means: str) -> list[str]:
    """The names of the mutants that a means, or all together, did not notice."""
    own = [one for one in outcomes if one.means == means] if means != ALL else together(outcomes)
    return [f"{one.outcome}: {one.mutant}" for one in own if not one.detected]


def _row(means: str, part: str, outcomes: Sequence[Outcome]) -> str:
    counts = Counter(one.outcome for one in outcomes)
    found = Density(counts[DETECTED] + counts[ENDLESS], len(outcomes))
    low, high = found.interval
    numbers = " | ".join(str(counts[name]) for name in (DETECTED, ENDLESS, SURVIVED, UNREACHED))
    share = f"{100 * found.share:.0f} % | {100 * low:.0f} to {100 * high:.0f} %"
    return f"| {means} | {part} | {len(outcomes)} | {numbers} | {share} |"
