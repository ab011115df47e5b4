"""The table of queues as one HTML file without scripts and external resources."""

from __future__ import annotations

from importlib.resources import files
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.checkers.base import Verdict
from harness.queues.result import CellResult
from harness.queues.table import Table, loss_text, recovery_text
from harness.report.facts import platform_facts
from harness.report.scales import DASH
from harness.report.svg import tag


def page_html(table: Table, *, written_at: str) -> str:
    """The page; its links to the reports of cells are relative to the folder of the table."""
    environment = Environment(
        loader=PackageLoader("harness.queues", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = files("harness.queues").joinpath("templates", "queues.css").read_text("utf-8")
    return environment.get_template("queues.html").render(
        table=table,
        written_at=written_at,
        facts=platform_facts(),
        style=Markup(style),  # noqa: S704 - a file of this package
        figure=lambda number: DASH if number is None else str(number),
        loss_text=loss_text,
        opened=_opened,
        recovery=recovery_text,
    )


def _opened(result: CellResult, verdict: Verdict) -> str | Markup:
    """The verdict as a link to the report of this run; without a link if the run has no report."""
    if not result.has_report:
        return str(verdict)
    return tag("a", str(verdict), href=quote(f"{result.cell.folder}/report.html"), title=result.why or None)
