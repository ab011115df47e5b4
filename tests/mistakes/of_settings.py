"""Mistakes in the variables of the environment, and machines that are too small for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from harness.doctor import machine_checks
from tests.mistakes.clinic import CORES, GOOD, MEMORY
from tests.mistakes.mistake import FAIL, WARN, Break, Mistake, variable, wrong_everywhere, wrong_variable


def machine(name: str, value: object) -> Break:
    """Let the doctor see another machine."""
    return lambda clinic: clinic.environment.setattr(machine_checks, name, value)


MISTAKES = (
    Mistake(
        id="machine.python",
        grade=FAIL,
        make=machine("VERSION", (3, 10, 12)),
        repair=machine("VERSION", machine_checks.VERSION),
        says="Python 3.10.12",
    ),
    Mistake(
        id="machine.cores",
        grade=WARN,
        make=machine("cores_here", lambda: 1.5),
        repair=machine("cores_here", lambda: CORES),
        says="1.5 cores for 4 workers",
    ),
    Mistake(
        id="machine.memory",
        grade=WARN,
        make=machine("memory_here", lambda: 1.5e9),
        repair=machine("memory_here", lambda: MEMORY),
        says="1,500 MB for 4 workers",
    ),
    wrong_everywhere("settings.lease", WARN, "AGENTEXEC_LEASE_SECONDS", "2"),
    wrong_variable(
        "settings.key-rotation", WARN, "AGENTEXEC_API_KEYS", GOOD["AGENTEXEC_API_KEYS"].partition(",")[0]
    ),
    wrong_variable(
        "settings.key-age",
        FAIL,
        "OPENAI_KEY_ROTATION_DATE",
        (datetime.now(UTC) - timedelta(days=100)).isoformat(),
        "OPENAI_KEY_ROTATION_DATE",
    ),
    wrong_everywhere("settings.time-limit", WARN, "AGENTEXEC_TASK_TIME_LIMIT", "0"),
    Mistake(
        id="settings.unknown-name",
        grade=FAIL,
        make=variable("AGENTEXEC_NUM_WORKER", "8"),
        repair=variable("AGENTEXEC_NUM_WORKER", None),
        says="did you mean AGENTEXEC_NUM_WORKERS?",
    ),
    wrong_variable("settings.valid", FAIL, "AGENTEXEC_NUM_WORKERS", "many", "AGENTEXEC_NUM_WORKERS"),
    wrong_variable("settings.graceful-timeout", FAIL, "AGENTEXEC_GRACEFUL_SHUTDOWN_TIMEOUT", "0"),
    wrong_variable("settings.graceful-timeout", WARN, "AGENTEXEC_GRACEFUL_SHUTDOWN_TIMEOUT", "150"),
    wrong_variable("settings.log-format", WARN, "AGENTEXEC_LOG_FORMAT", "text"),
    wrong_variable("settings.metrics-port", WARN, "AGENTEXEC_METRICS_PORT", "0"),
    wrong_variable("settings.rate-limit", FAIL, "AGENTEXEC_API_RATE_LIMIT", "off"),
    wrong_variable("settings.api-keys", WARN, "AGENTEXEC_API_KEYS", None),
)
