"""The options of `harness chaos run` for the bill of a simulated LLM endpoint."""

from __future__ import annotations

from argparse import Namespace, _ArgumentGroup

from harness.command_line import filled_path
from harness.llm.metering import Metering


def add_costs(group: _ArgumentGroup) -> None:
    """Add the options."""
    group.add_argument(
        "--meter", metavar="URL", help="the endpoint of `harness llm serve` that the tasks use"
    )
    group.add_argument("--prices", type=filled_path, metavar="FILE", help="price list as JSON")
    group.add_argument("--budget", metavar="LIMITS", help="e.g. 'again < 5%%, money < 2.50'")


def metering_of(options: Namespace) -> Metering | None:
    """The bill of the endpoint, None without `--meter`; raises `UsageError` or `EnvironmentUnavailable`."""
    found = Metering.of(options.meter, options.prices, options.budget)
    if found is not None:
        found.begin()  # now, and not after the servers have started
    return found


def cost_words(options: Namespace) -> list[str]:
    """The options as words of the command that repeats a run."""
    given = {name: getattr(options, name) for name in ("meter", "prices", "budget")}
    return [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
