"""`harness check`: judge a recorded history by the checkers that it carries, or by those of a scenario."""

from __future__ import annotations

import json
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import asdict

from harness.checkers.asked import unasked
from harness.checkers.base import CheckResult, Verdict
from harness.cli.given_history import given_history
from harness.cli.written import keep_evidence
from harness.command_line import filled_path
from harness.errors import UsageError
from harness.history import History
from harness.history.export import read_export
from harness.masking import masked, masked_json, one_line
from harness.report.judged_again import as_run
from harness.report.write import write_page
from harness.run.judging import JudgedHistory, judge, judge_alone, judge_export
from harness.scenario import registry

# The most counterexamples that are printed of each checker; --json has all of them.
_SHOWN = 20


def add_check(parser: ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument(
        "history", nargs="?", type=filled_path, metavar="HISTORY", help="a history file, or a folder of them"
    )
    parser.add_argument(
        "--export",
        nargs="+",
        type=filled_path,
        metavar="FILE",
        help="instead of a history: rows of agentexec_activity and its log, as CSV or JSON lines",
    )
    parser.add_argument(
        "--scenario",
        metavar="NAME",
        help="judge by the checkers of this scenario (default: those of the history)",
    )
    parser.add_argument("--app", metavar="MODULE:NAME", help="judge the invariants of this application too")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--html", type=filled_path, metavar="FILE", help="write the page of the report there")
    parser.set_defaults(run=check_history)


def check_history(options: Namespace) -> int:
    """Judge the history and print the results; returns the exit code of the verdict."""
    history, judged = _judged(options)
    results = judged.results
    verdict = Verdict.combine(result.verdict for result in results.values())
    if options.json:
        print(json.dumps(masked_json(_as_json(judged, history, verdict)), indent=2))
        return verdict.exit_code
    for name, result in results.items():
        print(f"{result.verdict:<8} {one_line(name)}: {one_line(result.summary)}")
        for example in (
            result.counterexamples[:_SHOWN] if result.verdict in (Verdict.INVALID, Verdict.UNKNOWN) else ()
        ):
            print(f"         {masked(json.dumps(dict(example), default=str))}")
    if judged.note is not None:
        print(f"\nnote: {one_line(judged.note)}")
    note = _note(results, verdict)
    print(f"\nverdict: {verdict}" + ("" if note is None else f" ({note})"))
    if options.html is not None:
        print(f"report:  {options.html}")
    return verdict.exit_code


def _judged(options: Namespace) -> tuple[History, JudgedHistory]:
    if (options.history is None) is (options.export is None):
        raise UsageError("Name either a HISTORY, or the files of an export with --export.")
    if options.export is not None:
        return _judged_export(options)
    scenario = None if options.scenario is None else registry.scenario(options.scenario)
    if options.html is not None:
        keep_evidence(options.html, options.history, "--html")
    target = None if options.app is None else registry.application(options.app)
    history = given_history(options.history)
    if scenario is None:
        judged = judge_alone(history, target)
    else:
        judged = JudgedHistory(scenario.name, scenario.summary, judge(scenario, history, target), None)
    if options.html is not None:
        _write_page(options, history, judged)
    return history, judged


def _judged_export(options: Namespace) -> tuple[History, JudgedHistory]:
    for name in ("scenario", "app", "html"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} is for a history. Leave it out with --export.")
    try:
        history = read_export(options.export)
    except OSError as error:
        raise UsageError(
            f"{error.filename} cannot be read: {error.strerror}. Name the files of the export."
        ) from None
    except ValueError as error:
        raise UsageError(f"{error}. docs/production/observe.md has the statements of an export.") from None
    return history, judge_export(history)


def _write_page(options: Namespace, history: History, judged: JudgedHistory) -> None:
    command = ["harness", "check", str(options.history)]
    command += [] if options.scenario is None else ["--scenario", options.scenario]
    command += [] if options.app is None else ["--app", options.app]
    run = as_run(
        history,
        judged.results,
        scenario=judged.name or options.history.stem,
        summary=judged.summary,
        path=options.history,
        command=shlex.join(command),
    )
    write_page(run, options.html)


def _note(results: Mapping[str, CheckResult], verdict: Verdict) -> str | None:
    return unasked(results) if verdict is Verdict.VALID else None


def _as_json(judged: JudgedHistory, history: History, verdict: Verdict) -> dict[str, object]:
    return {
        "scenario": judged.name or None,
        "verdict": verdict,
        "verdict_note": _note(judged.results, verdict),
        "note": judged.note,
        "operations": len(history),
        "checkers": {
            name: {
                "verdict": result.verdict,
                "summary": result.summary,
                "figures": dict(result.figures),
                "counterexamples": [dict(example) for example in result.counterexamples],
                "promise": None if result.promise is None else asdict(result.promise),
            }
            for name, result in judged.results.items()
        },
    }
