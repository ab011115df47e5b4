"""`harness report compare`: two files of benchmark figures side by side."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from harness.command_line import filled_path
from harness.report.compare import Change, compare, comparison_table


def add_report(parser: ArgumentParser, common: ArgumentParser) -> None:
    """Add the actions of the command to its parser."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    compared = actions.add_parser("compare", help="compare two files of benchmark figures", parents=[common])
    compared.add_argument("before", type=filled_path, metavar="BEFORE")
    compared.add_argument("after", type=filled_path, metavar="AFTER")
    compared.set_defaults(run=compare_figures)


def compare_figures(options: Namespace) -> int:
    """Print both files side by side; returns 1 if a figure became worse by more than its spread, else 0."""
    comparison = compare(options.before, options.after)
    print(comparison_table(comparison))
    return int(any(row.change is Change.WORSE for row in comparison.rows))
