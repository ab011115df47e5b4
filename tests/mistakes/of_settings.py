"""Mistakes in the variables of the environment."""

from __future__ import annotations

from tests.mistakes.clinic import GOOD
from tests.mistakes.mistake import FAIL, WARN, Mistake, variable, wrong_everywhere, wrong_variable

MISTAKES = (
    wrong_everywhere("settings.lease", WARN, "AGENTEXEC_LEASE_SECONDS", "2"),
    wrong_variable(
        "settings.key-rotation", WARN, "AGENTEXEC_API_KEYS", GOOD["AGENTEXEC_API_KEYS"].partition(",")[0]
    ),
    wrong_variable(
        "settings.key-age", FAIL, "OPENAI_KEY_ROTATION_DATE", "2024-01-15", "OPENAI_KEY_ROTATION_DATE"
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
