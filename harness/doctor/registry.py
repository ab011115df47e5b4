"""All checks in the order of the output, and their table for docs/reference/doctor.md."""

from __future__ import annotations

from types import ModuleType

from harness.doctor import (
    durability_checks,
    file_checks,
    http_checks,
    machine_checks,
    postgres_checks,
    redis_checks,
    restore_checks,
    settings_checks,
    table_checks,
    task_checks,
)
from harness.doctor.check import Box, DoctorCheck

HEADER = "| id | box | asks | why | remedy |\n|---|---|---|---|---|"


def checks_of(module: ModuleType) -> tuple[DoctorCheck, ...]:
    """The checks that a module defines, in its order."""
    return tuple(value for value in vars(module).values() if isinstance(value, DoctorCheck))


CHECKS = tuple(
    one
    for module in (
        postgres_checks,
        durability_checks,
        table_checks,
        redis_checks,
        settings_checks,
        machine_checks,
        task_checks,
        http_checks,
        file_checks,
        restore_checks,
    )
    for one in checks_of(module)
)


def boxes() -> dict[Box, tuple[DoctorCheck, ...]]:
    """The checks that stand for each box of the production guide."""
    return {box: tuple(one for one in CHECKS if one.box is box) for box in Box}


def table() -> str:
    """The table of all checks in Markdown."""
    return "\n".join([HEADER, *map(_row, CHECKS)])


def _row(one: DoctorCheck) -> str:
    shown = f" Scenario [`{one.scenario}`](scenarios.md)." if one.scenario else ""
    commands = "".join(f" `{command}`" for command in one.commands)
    cells = (
        f"`{one.id}`",
        f"`{one.box}`" if one.box else "",
        one.asks,
        f"{one.why}{shown}",
        f"{one.remedy}{commands}",
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
