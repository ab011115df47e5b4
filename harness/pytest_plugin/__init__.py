"""pytest plugin: a scenario as a test, with embedded servers as fixtures.

    @pytest.mark.chaos("kill-pool", kills=5)
    def test_a_killed_pool_loses_nothing(): ...

The marker runs the scenario before the body of the test. Any verdict but VALID fails the test. The fixture `chaos` runs
scenarios in the body, and has the runs of the marker. Nothing of the harness is imported before a test needs it.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.environments.base import Endpoints, Environment
    from harness.llm import Endpoint, EndpointProfile
    from harness.pytest_plugin.fixture import ChaosFixture

_MARKER = (
    "chaos(scenario, *, kills=None, tasks=None, load=None, thresholds=(), load_lateness=None, load_baseline=None, "
    "seed=None, rate=None, timeout=None, patience=None, target=None, app=None, unknown='fail'): run a scenario of "
    "agentexec-harness before the body of the test; any verdict but VALID fails the test."
)
_FOLDER = "chaos_report_folder"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of chaos tests."""
    group = parser.getgroup("chaos", "chaos tests (agentexec-harness)")
    group.addoption("--chaos-seed", type=int, metavar="N", help="seed of chaos tests that name none")
    group.addoption("--chaos-report", type=Path, metavar="DIR", help="folder of reports (default: reports)")


def pytest_configure(config: pytest.Config) -> None:
    """Add the marker, and choose the folder of this session's reports."""
    config.addinivalue_line("markers", _MARKER)
    stamp = f"pytest-{datetime.now().astimezone():%Y%m%d-%H%M%S}-{os.getpid()}"
    parent: Path = config.getoption("--chaos-report") or config.rootpath / "reports"
    # A process of pytest-xdist writes into the folder of the process that started it.
    given = getattr(config, "workerinput", {}).get(_FOLDER)
    config.stash[_REPORTS] = Path(given) if given else parent.absolute() / stamp


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give the folder of the reports to a process of pytest-xdist."""
    node.workerinput[_FOLDER] = str(node.config.stash[_REPORTS])


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let a marked test have the fixture `chaos`, also if its body does not use it."""
    names: list[str] | None = getattr(item, "fixturenames", None)
    if names is not None and "chaos" not in names and item.get_closest_marker("chaos"):
        names.append("chaos")


# Last, which is innermost: the output of a run is captured, and its failure is that of the test's call.
@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Run the scenario of each marker, those of the class and module last."""
    for marker in item.iter_markers("chaos"):
        funcargs: dict[str, Any] = getattr(item, "funcargs", {})
        funcargs["chaos"].run_marker(marker)
    return (yield)


@pytest.fixture(scope="session")
def harness_environment() -> Iterator[Environment]:
    """Embedded Postgres and Valkey, one pair for each process of pytest; override it for another backend."""
    from harness.environments import make_environment
    from harness.errors import HarnessError
    from harness.pytest_plugin.fixture import failed

    environment = make_environment("embedded")
    try:
        environment.start()
    except HarnessError as error:
        raise failed(str(error)) from None
    try:
        yield environment
    finally:
        environment.stop()


@pytest.fixture(scope="session")
def harness_servers(harness_environment: Environment) -> Endpoints:
    """The URLs of the servers: `database_url` and `redis_url`."""
    return harness_environment.endpoints


@pytest.fixture(scope="session")
def chaos_target() -> Any:
    """The target of chaos tests that name none; override it with a name, an import path or a value."""
    return "agentexec"


@pytest.fixture
def chaos(request: pytest.FixtureRequest) -> ChaosFixture:
    """`chaos(scenario, ...)` runs a scenario with the arguments of the marker and returns its `ScenarioRun`."""
    from harness.pytest_plugin.fixture import ChaosFixture

    return ChaosFixture(request, reports=request.config.stash[_REPORTS])


@pytest.fixture(scope="session")
def llm_profile() -> EndpointProfile:
    """What `llm_endpoint` does: the default profile, a hundred times as fast; override it with another."""
    from harness.llm import EndpointProfile

    return EndpointProfile(time_scale=100)


@pytest.fixture
def llm_endpoint(llm_profile: EndpointProfile) -> Iterator[Endpoint]:
    """A simulated LLM endpoint of its own for each test, with `base_url`, `api_key` and `meter()`."""
    from harness.llm import serving

    with serving(llm_profile) as endpoint:
        yield endpoint


_REPORTS = pytest.StashKey[Path]()
