"""What all tests share: Hypothesis profiles, a poll with a deadline, and the rule for a missing Docker engine.

A missing service skips a test on a developer's machine and fails it in CI, where a skip would go unseen.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings

if TYPE_CHECKING:
    from harness.environments.embedded import EmbeddedEnvironment

Answer = TypeVar("Answer")

# No profile has a deadline for one example: machines that share their cores stall for seconds, and a deadline would
# report that as a failure of the code. pytest-timeout ends what hangs.
# Fast, at random, and what failed once is tried first the next time.
settings.register_profile("dev", max_examples=50, deadline=None, print_blob=True)
# The same examples for the same commit: a failed build fails again, and no commit fails by chance.
settings.register_profile(
    "ci",
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# At random again, since only new examples find more; the printed example reproduces a failure.
settings.register_profile(
    "nightly",
    max_examples=2_000,
    stateful_step_count=100,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# Each mutant gets the same examples, and the first failure is enough: it is not shrunk.
settings.register_profile(
    "mutation",
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)
# A run in a test must not write into the summary of the job that runs the tests.
for _name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "HARNESS_REPEAT"):
    os.environ.pop(_name, None)

settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


@pytest.fixture(autouse=True)
def same_import_path() -> Iterator[None]:
    """Undo what the code under test adds to `sys.path`, which later tests hand to the processes that they start."""
    before = list(sys.path)
    yield
    sys.path[:] = before


class Eventually:
    """Waits until a condition holds, where no event, pipe or gate can signal it."""

    def __call__(
        self, condition: Callable[[], Answer], deadline: float = 10.0, every: float = 0.02
    ) -> Answer:
        """The first true answer of `condition`; AssertionError when there was none in `deadline` seconds."""
        end = time.monotonic() + deadline
        while not (answer := condition()):
            if time.monotonic() > end:
                raise AssertionError(f"not true within {deadline} s, the last answer was {answer!r}")
            time.sleep(every)
        return answer


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """`eventually(condition, deadline=seconds)` waits for the condition and returns its answer."""
    return Eventually()


@pytest.fixture(scope="session")
def servers() -> "Iterator[EmbeddedEnvironment]":
    """Real Postgres and Valkey, one pair for each pytest process, started for the first test that uses them."""
    from harness.environments.embedded import EmbeddedEnvironment

    with EmbeddedEnvironment() as environment:
        yield environment


@cache
def docker_trouble() -> str | None:
    """Why no Docker engine can be used here; None where one answers."""
    try:
        import docker
    except ImportError as error:
        return f"the docker package is missing ({error})"
    try:
        client = docker.from_env(timeout=10)
    except docker.errors.DockerException as error:
        return str(error)
    try:
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        return str(error)
    finally:
        client.close()
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail what needs a Docker engine where there is none."""
    if item.get_closest_marker("containers") is None or (trouble := docker_trouble()) is None:
        return
    message = f"no Docker engine answers: {trouble}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
