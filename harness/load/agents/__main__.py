"""`python -m harness.load.agents figures | picture FILE | plan PRESET | arrivals PATTERN`: the model, looked at.

`figures` prints the published figures and those of the model as a table in Markdown, `picture` writes the distributions
of the presets as an SVG file, `plan` prints plans of requests as JSON lines, and `arrivals` prints a trace as CSV.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from harness.command_line import Parser, above_zero, filled_path, positive, whole
from harness.errors import HarnessError
from harness.load.agents.arrivals import ARRIVALS
from harness.load.agents.model import AgentModel
from harness.load.agents.picture import picture
from harness.load.agents.presets import PRESETS, preset
from harness.load.agents.published import figure_table, measured


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; an error is one sentence on stderr and the exit code of its kind."""
    try:
        options = _parser().parse_args(arguments)
        options.run(options)
    except HarnessError as error:
        print(f"harness: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parser() -> Parser:
    parser = Parser(prog="python -m harness.load.agents", description="A generative model of agent work.")
    parser.add_argument("--seed", type=whole, default=1, metavar="N", help="of the model (default 1)")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    figures = actions.add_parser("figures", help="published figures, and what the model gives for each")
    figures.set_defaults(run=_figures)
    drawn = actions.add_parser("picture", help="the distributions of the presets as an SVG file")
    drawn.add_argument("file", type=filled_path, metavar="FILE")
    drawn.set_defaults(run=_picture)
    plan = actions.add_parser("plan", help="plans of requests, one a line")
    plan.add_argument("preset", metavar="PRESET", help=", ".join(PRESETS))
    plan.add_argument("--requests", type=positive, default=10, metavar="N", help="how many (default 10)")
    plan.add_argument("--time-scale", type=above_zero(1000), default=1.0, metavar="X", help="times this long")
    plan.set_defaults(run=_plan)
    arrivals = actions.add_parser("arrivals", help="a trace of arrivals, as CSV with offset_seconds")
    arrivals.add_argument("pattern", choices=ARRIVALS, metavar="PATTERN", help=", ".join(ARRIVALS))
    arrivals.add_argument(
        "--rate", type=above_zero(100_000), required=True, metavar="PER_SECOND", help="on average"
    )
    arrivals.add_argument(
        "--requests", type=positive, default=1000, metavar="N", help="how many (default 1000)"
    )
    arrivals.set_defaults(run=_arrivals)
    return parser


def _figures(options: Namespace) -> None:
    print(figure_table(measured(seed=options.seed)))


def _picture(options: Namespace) -> None:
    Path(options.file).write_text(picture(seed=options.seed), "utf-8")


def _plan(options: Namespace) -> None:
    for work in islice(AgentModel(preset(options.preset), options.seed).works(), options.requests):
        print(json.dumps(work.scaled(options.time_scale).to_value(), separators=(",", ":")))


def _arrivals(options: Namespace) -> None:
    print("offset_seconds")
    for moment in islice(ARRIVALS[options.pattern].times(options.rate, options.seed), options.requests):
        print(f"{moment:.6f}")


if __name__ == "__main__":
    sys.exit(main())
