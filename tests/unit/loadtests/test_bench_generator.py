"""The highest rate of a generator is that of the last step before the first in which it was late or dropped tasks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from loadtests.bench.app import STEP_RATES, step_task
from loadtests.bench.generator_rate import held, read_steps


@pytest.mark.parametrize(
    ("late_ms", "dropped", "steps"),
    [([1, 9, 10], 0, 3), ([1, 11, 2], 0, 1), ([11], 0, 0), ([1, 2], 5, 1)],
)
def test_the_steps_up_to_the_first_that_is_late_count(
    late_ms: Sequence[float], dropped: int, steps: int
) -> None:
    names = [f"LATE {step_task(rate)}" for rate in STEP_RATES[: len(late_ms)]]
    rows = {
        name: {"count": 100, "latency": {"p99": late / 1000}}
        for name, late in zip(names, late_ms, strict=True)
    }
    spent = [2.0 + index for index in range(len(late_ms) + 1)]
    found = read_steps({"rows": rows, "counts": {"dropped": dropped}}, spent)
    assert [step.rate for step in held(found)] == list(STEP_RATES[:steps])
    assert {step.cpu_seconds for step in found} == {1.0}
