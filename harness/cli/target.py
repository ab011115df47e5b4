"""`harness target list | new | check`: the systems that can be tested, and adapters for others."""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentParser, Namespace
from datetime import datetime
from pathlib import Path

from harness.command_line import filled_path
from harness.environments import make_environment
from harness.errors import EXIT_INVALID, EXIT_VALID, UsageError
from harness.history.figures import counted
from harness.masking import one_line
from harness.progress import progress_on
from harness.report import prepare_folder
from harness.run.target_check import PATIENCE_SECONDS, check_target
from harness.scenario import registry
from harness.targets.adapter import AdapterTarget

SCAFFOLD = Path(__file__).parents[1] / "targets" / "scaffold"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def add_target(parser: ArgumentParser, common: ArgumentParser) -> None:
    """Add the actions of the command to its parser."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the targets", parents=[common])
    listing.add_argument("--json", action="store_true", help="print one JSON document")
    listing.set_defaults(run=list_targets)
    new = actions.add_parser("new", help="write an adapter for a system of your own", parents=[common])
    new.add_argument("name", metavar="NAME", help="its name, and the folder to create")
    new.set_defaults(run=new_target)
    check = actions.add_parser(
        "check", help="ten tasks and one kill: does the target work?", parents=[common]
    )
    check.add_argument("target", metavar="TARGET", help="target, package.module:NAME, or path of an adapter")
    check.add_argument(
        "--patience", type=float, default=PATIENCE_SECONDS, metavar="S", help="seconds that a task may take"
    )
    check.add_argument(
        "--report", type=filled_path, metavar="DIR", help="default: reports/check-<name>-<time>"
    )
    check.set_defaults(run=check_one)


def list_targets(options: Namespace) -> int:
    """Print the targets with their versions, needs and profiles; returns 0."""
    rows = []
    for name in registry.names(registry.TARGETS):
        target = registry.target(name)
        row = {
            "name": name,
            "version": one_line(target.version()),
            "needs": ["postgres", "redis"],
            "profiles": [],
        }
        if isinstance(target, AdapterTarget):
            version = one_line(target.version()) if target.environment.is_complete else "not installed"
            row |= {"version": version, "needs": [*target.file.needs], "profiles": [*target.file.profiles]}
        rows.append(row)
    if options.json:
        print(json.dumps({"targets": rows}, indent=2))
        return EXIT_VALID
    width = max(len(str(row["name"])) for row in rows)
    for row in rows:
        profiles = f"  profiles: {', '.join(map(str, row['profiles']))}" if row["profiles"] else ""
        print(f"{row['name']:<{width}}  {row['version']!s:<14} {', '.join(map(str, row['needs']))}{profiles}")
    return EXIT_VALID


def new_target(options: Namespace) -> int:
    """Write the files of an adapter into a new folder; raises `UsageError` rather than overwrite anything."""
    folder = Path(options.name)
    if not _NAME.fullmatch(folder.name):
        raise UsageError(
            f"{folder.name!r} is no name of an adapter. Use lower-case letters, digits, dots, hyphens and underscores."
        )
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"{folder} exists. Choose another name, or remove it.") from None
    except OSError as error:
        raise UsageError(f"{folder} cannot be created: {error.strerror}. Choose another place.") from None
    for template in sorted(SCAFFOLD.iterdir()):
        if template.is_file():
            text = template.read_text("utf-8").replace("NAME", folder.name)
            (folder / template.name).write_text(text, "utf-8")
            print(folder / template.name)
    print(
        f"next:  harness target check ./{folder}"
        if not folder.is_absolute()
        else f"next:  harness target check {folder}"
    )
    return EXIT_VALID


def check_one(options: Namespace) -> int:
    """Check the parts of a target on embedded servers, a line for each; returns 1 if one does not work, else 0."""
    registry.require_own_package()
    target = registry.target(options.target)
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    folder = prepare_folder(options.report or Path("reports") / f"check-{target.name}-{stamp}")
    if any(folder.glob("*.jsonl")):
        raise UsageError(f"{folder} has the history of another run. Name another folder with --report DIR.")
    wrong = 0
    with progress_on() as progress:
        if isinstance(target, AdapterTarget):
            target.install(progress.step)
        progress.step("starting Postgres and Redis (embedded)")
        with make_environment("embedded", needs=getattr(target, "needs", ())) as environment:
            progress.step(f"checking {target.name}")
            for part in check_target(environment, target, history=folder, patience=options.patience):
                wrong += part.problem is not None
                sign, seen = ("ok", part.note) if part.problem is None else ("wrong", part.problem)
                print(f"{sign:<6} {part.name:<9} {one_line(seen)}")
                sys.stdout.flush()
    outcome = f"{counted(wrong, 'part', 'do')} not work" if wrong else "every part works"
    print(f"\n{one_line(target.name)}: {outcome}\nlogs:  {folder}")
    return EXIT_INVALID if wrong else EXIT_VALID
