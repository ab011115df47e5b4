"""`harness report compare` and `harness report index`: reports of several runs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from harness.command_line import filled_path
from harness.errors import UsageError
from harness.report.compare import Change, compare, comparison_table, read_document
from harness.report.compare_loads import LOAD_SCHEMA
from harness.report.compare_verdicts import compare_verdicts, verdicts_table
from harness.report.index import REPORTS
from harness.report.verdict_json import SCHEMA
from harness.report.write import write_index


def add_report(parser: ArgumentParser, common: ArgumentParser) -> None:
    """Add the actions of the command to its parser."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    compared = actions.add_parser(
        "compare", help="compare two verdict.json, or two files of benchmark figures", parents=[common]
    )
    compared.add_argument("before", type=filled_path, metavar="BEFORE", help="a file, or a report folder")
    compared.add_argument("after", type=filled_path, metavar="AFTER")
    compared.set_defaults(run=compare_files)
    index = actions.add_parser("index", help="write the index of a folder of reports", parents=[common])
    index.add_argument("folder", type=filled_path, nargs="?", default=Path(REPORTS), metavar="DIR")
    index.set_defaults(run=index_reports)


def compare_files(options: Namespace) -> int:
    """Print both files side by side.

    Returns 1 if a verdict became worse, or a benchmark figure became worse by more than its spread; else 0.
    """
    paths = (options.before, options.after)
    documents = [read_document(path) for path in paths]
    schemas = [one.get("schema") if isinstance(one, dict) else None for one in documents]
    verdicts = [schema in (SCHEMA, LOAD_SCHEMA) for schema in schemas]
    if all(verdicts) and schemas[0] == schemas[1]:
        found = compare_verdicts(*documents)
        print(verdicts_table(found))
        return int(found.worse)
    if any(verdicts):
        if all(verdicts):
            raise UsageError(
                "One file has verdicts of scenarios, the other of a load; give two of the same kind."
            )
        other = paths[verdicts.index(False)]
        raise UsageError(f"{other} holds no verdicts, the other file does; give two files of the same kind.")
    comparison = compare(*paths)
    print(comparison_table(comparison))
    return int(any(row.change is Change.WORSE for row in comparison.rows))


def index_reports(options: Namespace) -> int:
    """Write the index and print its path; returns 0."""
    print(write_index(options.folder))
    return 0
