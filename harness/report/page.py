"""report.html: one file without external resources, under a content security policy of its own.

The policy allows only the page's style sheet and its script, by their hashes: no string of a history can run as code,
even if the escaping had a defect.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.checkers.base import CheckResult
from harness.masking import masked_json
from harness.report.facts import packages, platform_facts
from harness.report.headline import Headline, headline, overall, sentence
from harness.report.picture_data import BarOutcome, PictureData, data_of
from harness.report.recovery import recovery_plot
from harness.report.scales import DASH, counted, number_text, seconds_text
from harness.report.text import clean
from harness.report.throughput import throughput
from harness.report.timeline import timeline
from harness.scenario import ScenarioRun

EXPANDED = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One scenario of the page, with all data that its template shows."""

    anchor: str
    position: Mapping[str, int]
    run: ScenarioRun
    line: Headline
    data: PictureData
    named: frozenset[int]
    timeline: Markup
    throughput: Markup
    recovery: Markup | None
    history_link: str | None


def report_html(runs: Sequence[ScenarioRun], *, folder: Path, written_at: str) -> str:
    """The page; links to histories are relative to `folder`, `written_at` is an ISO 8601 time."""
    sections = [_section(number, run, folder) for number, run in enumerate(runs, start=1)]
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    page = _environment().get_template("report.html")
    return page.render(
        sections=sections,
        verdict=overall(runs),
        sentence=sentence(runs, [section.line for section in sections]),
        written_at=written_at,
        packages=packages(),
        platform=platform_facts(),
        expanded=EXPANDED,
        style=Markup(style),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - a file of this package
        policy=(
            f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
            "base-uri 'none'; form-action 'none'"
        ),
    )


def _section(number: int, run: ScenarioRun, folder: Path) -> Section:
    data = data_of(run)
    named = frozenset(_named_tasks(run.results))
    return Section(
        anchor=f"scenario-{number}",
        position={name: index for index, name in enumerate(run.results, start=1)},
        run=run,
        line=headline(run),
        data=data,
        named=named,
        timeline=timeline(data, named),
        throughput=throughput(data),
        recovery=recovery_plot(data),
        history_link=_link(run.history_path, folder),
    )


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
        counted=counted,
    )
    environment.globals.update(BarOutcome=BarOutcome)
    return environment


def _clean(value: object) -> object:
    """Remove secrets and control characters from every string of a template; escaping follows."""
    return clean(str(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def _figure(value: float | int | None) -> str:
    return DASH if value is None else number_text(value)


def _details(member: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """The rest of a counterexample: name, text, and whether its line breaks matter."""
    shown = ((key, value) for key, value in member.items() if key not in {"task", "kind", "why"})
    return [(str(key), *_plain(value)) for key, value in shown]


def _plain(value: Any) -> tuple[str, bool]:
    text = value if isinstance(value, str) else json.dumps(masked_json(value), ensure_ascii=False)
    return text, "\n" in text


def _asset(name: str) -> str:
    return files("harness.report").joinpath("templates", name).read_text(encoding="utf-8").strip()


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
