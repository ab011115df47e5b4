"""The options of `harness chaos run` for the bill of a simulated LLM endpoint."""

from __future__ import annotations

from argparse import Namespace, _ArgumentGroup

from harness.command_line import filled_path
from harness.errors import UsageError
from harness.llm.budget import Budget
from harness.llm.metering import Metering
from harness.llm.prices import PriceList
from harness.llm.serving import Endpoint


def add_costs(group: _ArgumentGroup) -> None:
    """Add the options."""
    group.add_argument(
        "--meter", metavar="URL", help="the endpoint of `harness llm serve` that the tasks use"
    )
    group.add_argument("--prices", type=filled_path, metavar="FILE", help="price list as JSON")
    group.add_argument("--budget", metavar="LIMITS", help="e.g. 'again < 5%%, money < 2.50'")


def metering_of(options: Namespace) -> Metering | None:
    """The bill of the endpoint, None without `--meter`; raises `UsageError` or `EnvironmentUnavailable`."""
    if options.meter is None:
        for name in ("prices", "budget"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name} needs the endpoint that bills. Give its URL with --meter.")
        return None
    prices = None if options.prices is None else PriceList.read(options.prices)
    if options.budget is not None:
        terms = Budget.parse(options.budget).terms
        if prices is None and any(term.figure.startswith("money") for term in terms):
            raise UsageError("A budget of money needs a price list. Give one with --prices.")
    found = Metering(endpoint=Endpoint.at(options.meter), prices=prices, budget=options.budget)
    found.begin()  # now, and not after the servers have started
    return found


def cost_words(options: Namespace) -> list[str]:
    """The options as words of the command that repeats a run."""
    given = {name: getattr(options, name) for name in ("meter", "prices", "budget")}
    return [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
