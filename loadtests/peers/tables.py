"""The Markdown of a run from its JSON: tables of speed, cost and spread, and what each peer records and loses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from harness.report.markdown_page import markdown_table, wrapped
from harness.report.scales import DASH
from loadtests.peers.catalog import OURS

BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
_WAYS = {"one": "one at a time", "together": "100 together", "batch": "batches of 1,000"}

Figure = Mapping[str, Any]
Document = Mapping[str, Any]


def replaced(page: str, part: str) -> str:
    """A page with this part between its markers; raises ValueError if it has not exactly one of each."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"the page needs one line {BEGIN} and below it one line {END}")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{part.strip()}\n\n{END}{rest.split(END)[1]}"


def tables(run: Document, *, plot: str = "") -> str:
    """The tables of a run; `plot` is the address of its picture."""
    parts = [
        _summary(run),
        f"![drained tasks per second, processor time per task, and pick-up of each peer]({plot})"
        if plot
        else "",
        "### Speed",
        _speed(run),
        "### Costs of a drained task",
        _drained(run),
        "### Costs of an enqueued task",
        "Processor time = producer + Postgres + Redis.",
        _enqueued(run),
        "### Spread of the rounds",
        _spread(run),
        "### What each one records and loses, and its settings",
        *_described(run),
        *_problems(run),
    ]
    return "\n\n".join(part for part in parts if part)


def _summary(run: Document) -> str:
    loads = [load for peer in run["peers"].values() for load in peer["load_average"]]
    load = f"load average {min(loads):.1f} to {max(loads):.1f}" if loads else "no load average"
    quick = ", a tenth of the tasks" if run["quick"] else ""
    return wrapped(
        f"{run['at'][:10]}: {len(run['peers'])} peers, rounds in turn: {run['rounds']}{quick}; medians. "
        f"{', '.join(run['servers'].values())}, CPython {run['python']}, {run['system']}, {run['cores']} cores, "
        f"{load}. In parentheses: the ratio to agentexec."
    )


def figures_of(run: Document, peer: str) -> dict[str, Figure]:
    """The figures of one peer by their names."""
    return {figure["figure"]: figure for figure in run["results"][peer]}


def _rows(run: Document, cells: Callable[[dict[str, Figure]], Sequence[str]]) -> list[list[str]]:
    return [
        [f"**{peer['title']}**" if name == OURS else peer["title"], *cells(figures_of(run, name))]
        for name, peer in run["peers"].items()
    ]


def _speed(run: Document) -> str:
    def cells(figures: dict[str, Figure]) -> list[str]:
        missed = f"> {run['recovery_seconds']:g}" if figures else DASH
        recovery = text_of(figures["recovery"]) if "recovery" in figures else missed
        rates = ["drain", "enqueue-one", "enqueue-together", "enqueue-batch"]
        pairs = ["sparse-call", "sparse-return", "dense-call"]
        return [
            *(with_ratio(figures.get(one)) for one in rates),
            *(_pair(figures, one) for one in pairs),
            recovery,
            text_of(figures.get("exit")),
        ]

    header = ["", "drain /s", "enqueue one /s", "100 together /s", "batches of 1,000 /s"]
    header += ["sparse pick-up from the call, p50 / p99 ms", "from the return", "dense pick-up from the call"]
    header += ["recovery s", "exit s"]
    return markdown_table(header, _rows(run, cells), numbers_from=1)


def _pair(figures: Mapping[str, Figure], name: str) -> str:
    return f"{text_of(figures.get(f'{name}-p50'))} / {text_of(figures.get(f'{name}-p99'))}"


def _drained(run: Document) -> str:
    kinds = ["workers", "postgres", "redis"]

    def cells(figures: dict[str, Figure]) -> list[str]:
        total = summed(figures, [f"drain.{kind}" for kind in kinds])
        names = [*kinds, "wal", "commits", "inserted", "updated", "deleted"]
        recorded = with_ratio(figures.get("drain-recorded"))
        return [
            DASH if total is None else f"{total:,.0f}",
            *(text_of(figures.get(f"drain.{one}")) for one in names),
            recorded,
        ]

    header = ["", "processor µs", "workers µs", "Postgres µs", "Redis µs", "WAL bytes"]
    header += ["commits", "inserted", "updated", "deleted", "drain until all ends are recorded /s"]
    return markdown_table(header, _rows(run, cells), numbers_from=1)


def _enqueued(run: Document) -> str:
    def cells(figures: dict[str, Figure]) -> list[str]:
        found = []
        for way in _WAYS:
            kinds = [f"enqueue-{way}.{kind}" for kind in ("producer", "postgres", "redis")]
            total = summed(figures, kinds)
            parts = " + ".join(text_of(figures.get(kind)) for kind in kinds)
            found.append(DASH if total is None else f"{total:,.0f} = {parts}")
            found.append(text_of(figures.get(f"enqueue-{way}.wal")))
        return found

    header = [text for way in _WAYS.values() for text in (f"{way}, µs", "WAL bytes")]
    return markdown_table(["", *header], _rows(run, cells), numbers_from=1)


def _spread(run: Document) -> str:
    names = [
        "drain",
        "enqueue-one",
        "enqueue-together",
        "enqueue-batch",
        "sparse-call-p50",
        "sparse-call-p99",
    ]
    header = ["drain /s", "enqueue one /s", "100 together /s", "batches /s", "sparse p50 ms", "sparse p99 ms"]

    def cells(figures: dict[str, Figure]) -> list[str]:
        return [
            f"{number(figures[one]['min'])} to {number(figures[one]['max'])}" if one in figures else DASH
            for one in names
        ]

    return markdown_table(["", *header], _rows(run, cells), numbers_from=1)


def _described(run: Document) -> Iterator[str]:
    rows = [
        [peer["title"], peer["records"], f"{peer['loses']} ([source]({peer['loss_source']}))"]
        for peer in run["peers"].values()
    ]
    yield markdown_table(["", "records", "loses when all workers are killed"], rows)
    yield "\n".join(
        wrapped(
            f"**{peer['title']}** {peer['version'] or ''}: {peer['settings']} ({peer['source']}).", "- ", "  "
        )
        for peer in run["peers"].values()
    )


def _problems(run: Document) -> Iterator[str]:
    found = [
        wrapped(f"**{peer['title']}**: {error}", "- ", "  ")
        for peer in run["peers"].values()
        for error in peer["errors"]
    ]
    if found:
        yield "### Rounds without figures"
        yield "\n".join(found)


def number(value: float) -> str:
    """Three digits, or all of a larger number."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def text_of(figure: Figure | None) -> str:
    """The median, or a dash."""
    return DASH if figure is None else number(figure["median"])


def with_ratio(figure: Figure | None) -> str:
    """The median with its ratio to ours."""
    if figure is None or figure["ratio"] is None:
        return text_of(figure)
    return f"{text_of(figure)} ({figure['ratio']:.2f})"


def summed(figures: Mapping[str, Figure], names: Sequence[str]) -> float | None:
    """The sum of the medians of the figures that there are; None if there is none."""
    found = [figures[one]["median"] for one in names if one in figures]
    return sum(found) if found else None
