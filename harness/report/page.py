"""report.html: one file without external resources, under a content security policy of its own.

The policy allows only the page's style sheet and its script, by their hashes: no string of a history can run as code,
even if the escaping had a defect.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.checkers.base import CheckResult, Verdict
from harness.history.figures import counted
from harness.masking import masked_json
from harness.report.facts import packages, platform_facts
from harness.report.headline import Headline, headline, overall, sentence, verdict_note
from harness.report.index import MARK, Series, StoredReport
from harness.report.load_link import load_page
from harness.report.logs import Excerpt, Log, excerpts, logs_of
from harness.report.over_time import over_time
from harness.report.picture_data import BarOutcome, PictureData, data_of
from harness.report.recovery import recovery_plot
from harness.report.scales import DASH, number_text, seconds_text
from harness.report.stories import Story, stories
from harness.report.task_list import COLUMNS, TaskList, task_list
from harness.report.text import clean
from harness.report.timeline import timeline
from harness.scenario import ScenarioRun

EXPANDED = 20
"""The lines of counterexamples of a checker that are open. Further ones are folded."""

OPEN_STORIES = 5
"""The stories of a scenario that are open, so that the timeline is not far below. Further ones are folded."""

MOST = 200
"""The most counterexamples of a checker, and stories of a scenario, in the page; verdict.json has all."""

RANK = {name: rank for rank, name in enumerate(("INVALID", "UNKNOWN", "VALID", "NOT ASKED"))}
"""The order of verdicts in the page: what needs attention comes first."""

NO_TIMES = "its lines carry no time that can be compared with the history"

NUMERIC = frozenset({"runs", "submitted", "started", "completed"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One scenario of the page, with all data that its template shows."""

    anchor: str
    position: Mapping[str, int]
    run: ScenarioRun
    line: Headline
    note: str | None
    data: PictureData
    loud: Sequence[tuple[str, CheckResult]]
    folded: Sequence[tuple[Verdict, Sequence[tuple[str, CheckResult]]]]
    named: frozenset[int]
    described: Mapping[int, Story]
    excerpts: Mapping[int, Sequence[Excerpt]]
    tasks: TaskList
    logs: Sequence[tuple[str, str | None, str]]
    ends: Mapping[str, Counter[str]]
    timeline: Markup
    over_time: Markup
    recovery: Markup | None
    history_link: str | None
    load_link: str | None


def report_html(runs: Sequence[ScenarioRun], *, folder: Path, written_at: str) -> str:
    """The page; links to histories are relative to `folder`, `written_at` is an ISO 8601 time."""
    ordered = sorted(runs, key=lambda run: RANK[run.verdict])
    sections = [_section(number, run, folder) for number, run in enumerate(ordered, start=1)]
    return render_page(
        "report.html",
        script=_asset("report.js"),
        sections=sections,
        verdict=overall(runs),
        note=verdict_note(runs),
        counts=sorted(Counter(run.verdict for run in runs).items(), key=lambda pair: RANK[pair[0]]),
        sentence=sentence(ordered, [section.line for section in sections]),
        written_at=written_at,
        packages=packages(),
        platform=platform_facts(),
        expanded=EXPANDED,
        stories=OPEN_STORIES,
        most=MOST,
        columns=COLUMNS,
        numeric=NUMERIC,
    )


def index_html(
    reports: Sequence[StoredReport], series: Sequence[Series], *, unreadable: Sequence[str]
) -> str:
    """The page that lists all runs of a folder."""
    return render_page("index.html", mark=MARK, reports=reports, series=series, unreadable=unreadable)


def render_page(template: str, *, script: str = "", styles: Sequence[str] = (), **values: object) -> str:
    """A page with the style sheet, further ones, a script, and the policy that allows nothing else."""
    style = style_sheet("report.css", *styles)
    scripts = f"script-src '{_hash(script)}'; " if script else ""
    return (
        _environment()
        .get_template(template)
        .render(
            style=Markup(style),  # noqa: S704 - a file of this package
            script=Markup(script),  # noqa: S704 - a file of this package
            policy=f"default-src 'none'; style-src '{_hash(style)}'; {scripts}base-uri 'none'; form-action 'none'",
            **values,
        )
    )


def style_sheet(*names: str) -> str:
    """Style sheets of the pages, one after another."""
    return "\n".join(map(_asset, names))


def _section(number: int, run: ScenarioRun, folder: Path) -> Section:
    data = data_of(run)
    named = frozenset(_named_tasks(run.results))
    described = stories(run, data)
    logs = logs_of(run.history_path, run.history, seconds=data.seconds)
    loud, folded = _by_verdict(run.results)
    shown = dict(islice(described.items(), MOST))
    return Section(
        anchor=f"scenario-{number}",
        position={name: index for index, name in enumerate(run.results, start=1)},
        run=run,
        line=headline(run),
        note=verdict_note([run]),
        data=data,
        loud=loud,
        folded=folded,
        named=named,
        described=shown,
        excerpts=_excerpts(shown, logs),
        tasks=task_list(run.history, data, described),
        logs=[(log.name, _link(log.path, folder), "" if log.timed else NO_TIMES) for log in logs],
        ends=_ends(data),
        timeline=timeline(data, named),
        over_time=over_time(data),
        recovery=recovery_plot(data),
        history_link=_link(run.history_path, folder),
        load_link=_link(load_page(folder, run.scenario) if "load" in run.results else None, folder),
    )


def _by_verdict(
    results: Mapping[str, CheckResult],
) -> tuple[list[tuple[str, CheckResult]], list[tuple[Verdict, list[tuple[str, CheckResult]]]]]:
    """The results that are shown open, and those that are folded, each group by its verdict."""
    groups: dict[Verdict, list[tuple[str, CheckResult]]] = {}
    for pair in sorted(results.items(), key=lambda one: RANK[one[1].verdict]):
        groups.setdefault(pair[1].verdict, []).append(pair)
    loud = [*groups.pop(Verdict.INVALID, []), *groups.pop(Verdict.UNKNOWN, [])]
    return loud, list(groups.items())


def _excerpts(described: Mapping[int, Story], logs: Sequence[Log]) -> Mapping[int, Sequence[Excerpt]]:
    found = ((task, excerpts(story, logs)) for task, story in islice(described.items(), EXPANDED))
    return {task: chosen for task, chosen in found if chosen}


def _ends(data: PictureData) -> Mapping[str, Counter[str]]:
    """By worker process, how many of its runs ended in which way; `cut` without a recorded end."""
    found: dict[str, Counter[str]] = {worker.process: Counter() for worker in data.workers}
    for bar in data.runs:
        found[bar.process][bar.outcome.value if bar.recorded else "cut"] += 1
    return found


def _named_tasks(results: Mapping[str, CheckResult]) -> set[int]:
    tasks = (member.get("task") for result in results.values() for member in result.counterexamples)
    return {task for task in tasks if isinstance(task, int)}


def _link(path: Path | None, folder: Path) -> str | None:
    if path is None or not path.resolve().is_relative_to(folder):
        return None
    return path.resolve().relative_to(folder).as_posix()


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("harness.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        seconds=seconds_text,
        figure=_figure,
        label=lambda name: str(name).replace("_", " "),
        details=_details,
        groups=_groups,
        css=lambda verdict: str(verdict).lower().replace(" ", "-"),
        counted=counted,
        urlencode=partial(quote, errors="surrogateescape"),  # the name of a file need not be text
    )
    environment.globals.update(ends=(*(outcome.value for outcome in BarOutcome), "cut"))
    return environment


def _clean(value: object) -> object:
    """Remove secrets and control characters from every string of a template; escaping follows."""
    return clean(str(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def _figure(value: float | int | None) -> str:
    return DASH if value is None else number_text(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Counterexamples that differ only in their task: `tasks` have a story each; empty if the one member has none."""

    member: Mapping[str, Any]
    tasks: list[int]

    @property
    def count(self) -> int:
        """The number of counterexamples."""
        return max(len(self.tasks), 1)


def _groups(members: Sequence[Mapping[str, Any]], described: Mapping[int, Story]) -> list[Group]:
    found: dict[object, Group] = {}
    for number, member in enumerate(members):
        task = member.get("task")
        if type(task) is int and task in described:
            key: object = (str(member.get("kind")), str(member.get("why")), *_details(member, described=True))
            found.setdefault(key, Group(member=member, tasks=[])).tasks.append(task)
        else:
            found[number] = Group(member=member, tasks=[])
    return list(found.values())


def _details(member: Mapping[str, Any], described: object) -> list[tuple[str, str, bool]]:
    """The rest of a counterexample: name, text, and whether its line breaks matter.

    What the story of the task says already is left out if its story is `described`.
    """
    hidden = {"task", "kind", "why", *(("activity", "operations") if described else ())}
    shown = ((key, value) for key, value in member.items() if key not in hidden)
    return [(str(key), *_plain(value)) for key, value in shown]


def _plain(value: Any) -> tuple[str, bool]:
    text = value if isinstance(value, str) else json.dumps(masked_json(value), ensure_ascii=False)
    return text, "\n" in text


def _asset(name: str) -> str:
    return files("harness.report").joinpath("templates", name).read_text(encoding="utf-8").strip()


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
