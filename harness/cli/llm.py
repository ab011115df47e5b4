"""`harness llm serve` and `harness llm costs`: a simulated LLM endpoint, and what faults cost on it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from decimal import Decimal
from pathlib import Path
from typing import Any

from harness.cli.given_history import given_history
from harness.command_line import above_zero, filled_path, positive, read_json, whole
from harness.errors import EXIT_INVALID, EXIT_UNKNOWN, EXIT_VALID, UsageError
from harness.history import History
from harness.history.faults import injected_faults
from harness.history.runs import runs
from harness.llm.budget import Budget
from harness.llm.costs import RunCosts, SpentTokens, costs
from harness.llm.costs_in_history import recorded_bill, recorded_prices
from harness.llm.meter import MeterRecords
from harness.llm.prices import PriceList
from harness.llm.profile import EndpointProfile
from harness.llm.serving import Endpoint, allow_many_connections, listening
from harness.report.text import clean

_MOST_TIME_SCALE = 10_000
_LARGEST_PORT = 65_535
_SETTLE_SECONDS = 10.0

# Options of `serve` that are settings of the profile by the same name.
_SETTINGS = (
    "seed",
    "time_scale",
    "first_token",
    "per_token",
    "output_tokens",
    "requests_per_minute",
    "tokens_per_minute",
    "abandoned",
)


def add_llm(parser: ArgumentParser, common: ArgumentParser) -> None:
    """Add the actions of the command to its parser."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_serve(actions.add_parser("serve", help="run a simulated LLM endpoint", parents=[common]))
    _add_costs(actions.add_parser("costs", help="what faults cost on such an endpoint", parents=[common]))


def _add_serve(parser: ArgumentParser) -> None:
    dist = "NUMBER or P50..P99"
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine only)"
    )
    parser.add_argument("--port", type=_port, default=8_808, help="0 chooses a free one (default: 8808)")
    parser.add_argument(
        "--profile", type=filled_path, metavar="FILE", help="settings as JSON; options override them"
    )
    parser.add_argument("--seed", type=whole, help="seed of answers, latencies and faults")
    parser.add_argument(
        "--time-scale", type=above_zero(_MOST_TIME_SCALE), metavar="N", help="simulated seconds in a real one"
    )
    parser.add_argument("--first-token", metavar="SECONDS", help=f"time to the first token: {dist}")
    parser.add_argument("--per-token", metavar="SECONDS", help=f"time of each further token: {dist}")
    parser.add_argument("--output-tokens", metavar="TOKENS", help=f"length of answers: {dist}")
    parser.add_argument("--requests-per-minute", type=positive, metavar="N", help="limit of each API key")
    parser.add_argument("--tokens-per-minute", type=positive, metavar="N", help="limit of each API key")
    parser.add_argument(
        "--disturb",
        action="append",
        metavar="TEXT",
        help="e.g. '429 share=0.9 every=60 lasting=10'; repeatable",
    )
    parser.add_argument(
        "--abandoned", choices=("generated", "whole"), help="what a client that disconnects pays"
    )
    parser.add_argument("--model", action="append", metavar="NAME", help="an accepted model (default: any)")
    parser.add_argument("--key", action="append", metavar="KEY", help="an accepted API key (default: any)")
    parser.add_argument(
        "--meter", type=filled_path, metavar="FILE", help="write all metered requests there at the end"
    )
    parser.set_defaults(run=serve)


def _add_costs(parser: ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="URL of an endpoint, a file of serve --meter, or a history with a bill",
    )
    parser.add_argument("--prices", type=filled_path, metavar="FILE", help="price list as JSON")
    parser.add_argument(
        "--history", type=filled_path, metavar="HISTORY", help="history of the run, for its faults"
    )
    parser.add_argument("--activity", metavar="ID", help="this activity only")
    parser.add_argument("--budget", metavar="LIMITS", help="e.g. 'again < 5%%, money < 2.50'")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=show_costs)


def serve(options: Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; returns 0."""
    profile = EndpointProfile.of_value(_settings(options))
    if options.meter is not None:
        _write(options.meter, None)
    allow_many_connections()
    asyncio.run(_serve(profile, options))
    return EXIT_VALID


def _settings(options: Namespace) -> dict[str, Any]:
    settings = dict(EndpointProfile.read(options.profile)) if options.profile else {}
    settings |= {name: getattr(options, name) for name in _SETTINGS if getattr(options, name) is not None}
    for name, given in (("disturbances", options.disturb), ("models", options.model), ("keys", options.key)):
        if given is not None:
            settings[name] = given
    return settings


async def _serve(profile: EndpointProfile, options: Namespace) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with listening(profile, host=options.host, port=options.port) as (endpoint, meter):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        print(_opening(endpoint), flush=True)
        await stopped.wait()
    if options.meter is not None:
        _write(options.meter, meter.records())
    tokens = meter.totals.prompt_tokens + meter.totals.completion_tokens
    print(f"stopped after {meter.totals.requests} requests and {tokens} billed tokens", flush=True)


def _opening(endpoint: Endpoint) -> str:
    exports = [f"export {name}={value}" for name, value in endpoint.variables.items()]
    return "\n".join([endpoint.base_url, *exports, f"# meter: {endpoint.root}/meter"])


def _write(path: Path, records: object) -> None:
    try:
        path.write_text(json.dumps(records), "utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}). Give another --meter FILE."
        ) from error


def show_costs(options: Namespace) -> int:
    """Print the costs; returns 0, 1 if the budget is exceeded, or 2 if the costs are not exact."""
    billed = given_history(Path(options.source)) if Path(options.source).is_dir() else None
    prices = None if billed is None else recorded_prices(billed)
    prices = prices if options.prices is None else PriceList.read(options.prices)
    budget = None if options.budget is None else Budget.parse(options.budget)
    records = _records(options.source, options.activity) if billed is None else _billed(billed, options)
    history = billed if options.history is None else _history(options.history, records)
    charged = ((), ()) if history is None else (injected_faults(history), runs(history))
    found = costs(records, prices, *charged)
    met = True if budget is None else budget.met(found)
    if options.json:
        terms = {} if budget is None else {term.text: term.met(found) for term in budget.terms}
        print(json.dumps({**found.to_value(), "budget": terms}, indent=2))
    else:
        print(costs_table(found))
        for term in () if budget is None else budget.terms:
            print(_term_line(term.text, term.met(found), term.measured(found)))
    if met is False:
        return EXIT_INVALID
    if found.incomplete is not None or met is None:
        why = found.incomplete or "money needs a price list; give --prices FILE."
        print(f"harness: the costs are not measurable: {why}", file=sys.stderr)
        return EXIT_UNKNOWN
    return EXIT_VALID


def _history(path: Path, records: MeterRecords) -> History:
    """A history; raises `UsageError` if it is of another time or machine than the records."""
    history = given_history(path)
    times = [operation.time for operation in history]
    started = [request.started for request in records.requests]
    if times and started and (max(started) < min(times) or max(times) < min(started)):
        raise UsageError(
            f"The history {path} and the meter have no time in common: they are of other runs or machines. Give the "
            "history of the run that used this endpoint."
        )
    return history


def _billed(history: History, options: Namespace) -> MeterRecords:
    try:
        found = recorded_bill(history)
    except ValueError as error:
        raise UsageError(f"The history {options.source} cannot be read: {error}. Give another one.") from None
    if found is None:
        raise UsageError(
            f"The history {options.source} has no bill. Name one of `harness chaos run --meter`, or give the endpoint."
        )
    return found if options.activity is None else found.of_activity(options.activity)


def _records(source: str, activity: str | None) -> MeterRecords:
    if source.startswith(("http://", "https://")):
        return Endpoint.at(source).records(activity, settle=_SETTLE_SECONDS)
    wanted = "give a URL, a file of `harness llm serve --meter`, or a history of `harness chaos run --meter`."
    found = MeterRecords.of_value(read_json(Path(source), wanted))
    return found if activity is None else found.of_activity(activity)


def _term_line(text: str, met: bool | None, measured: Decimal | None) -> str:
    word = {True: "met", False: "BREACHED", None: "not measurable"}[met]
    return f"budget {text}: {word}" + ("" if measured is None else f" ({measured:.6g})")


def costs_table(found: RunCosts) -> str:
    """The costs as a table for a terminal: all, needed, paid again by cause, and of no step."""
    rows = [("total", found.total), ("needed", found.needed), ("paid again", found.again)]
    rows += [(f"  {clean(cause)}", spent) for cause, spent in found.by_cause.items()]
    rows += [("of no step", found.unlabelled)]
    header = ("", "requests", "prompt", "cached", "completion", "tool calls", found.currency)
    cells = [header, *((name, *_cells(spent)) for name, spent in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in cells
    ]
    lines.append(
        f"{found.steps_again} of {found.steps} steps and {found.share_again:.1%} of all tokens were paid again; "
        f"{found.tool_runs_again} of {found.tool_runs} tool runs were repeated."
    )
    return "\n".join(line.rstrip() for line in lines)


def _cells(spent: SpentTokens) -> tuple[str, ...]:
    numbers = (
        spent.requests,
        spent.prompt_tokens,
        spent.cached_tokens,
        spent.completion_tokens,
        spent.tool_calls,
    )
    money = "-" if spent.money is None else f"{spent.money:.6f}"
    return (*(f"{number:,}" for number in numbers), money)


def _port(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else -1
    if not 0 <= number <= _LARGEST_PORT:
        raise ArgumentTypeError(f"{text[:20]!r} is not a port: a whole number from 0 to {_LARGEST_PORT}")
    return number
