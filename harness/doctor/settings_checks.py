"""Checks of the AGENTEXEC_* settings, without a server."""

from __future__ import annotations

import difflib
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from pydantic import AliasChoices

from agentexec.config import VERSION, Settings, variable
from harness.doctor.area import Area
from harness.doctor.check import Box, CheckFinding, check, failed, passed, warned
from harness.doctor.installation import Installation
from harness.doctor.unanswered import CannotTell

_settings = partial(check, area=Area.SETTINGS)
PREFIX = "AGENTEXEC_"
ASSIGNED = re.compile(r"^\s*(?:export\s+)?(AGENTEXEC_\w+)\s*=", re.MULTILINE)
LIMIT = re.compile(r"[1-9]\d*\s*(?:/|per)\s*\d*\s*(?:second|minute|hour|day|month|year)s?")
# Read elsewhere than by the settings: the name that a pool gives each worker.
OTHERS = ("AGENTEXEC_WORKER_ID",)
SHORTEST_LEASE, LONGEST_LEASE = 5, 120  # seconds
OLDEST_KEY_DAYS = 90


@_settings(
    "settings.valid",
    asks="Are all values of this environment and the .env file valid?",
    why="A pool or an API server with a wrong value does not start.",
    remedy="Correct the value; docs/reference/settings.md has all names, types and ranges.",
)
def valid(site: Installation) -> CheckFinding:
    """As agentexec itself reads them."""
    problem = site.settings_problem
    return failed(problem) if problem else passed(f"agentexec {VERSION}")


@_settings(
    "settings.unknown-name",
    asks="Is each AGENTEXEC_* name a setting?",
    why="A name with a typing error has no effect, and agentexec says nothing about it.",
    remedy="Correct the name.",
)
def unknown_name(site: Installation) -> CheckFinding:
    """Of the environment and the .env file; values are not shown."""
    dotenv, text = Path(".env"), ""
    with suppress(OSError):  # `settings.valid` says that it cannot be read
        text = dotenv.read_text("utf-8", "replace") if dotenv.is_file() else ""
    given = {name.upper() for name in (*site.options.environment, *ASSIGNED.findall(text))}
    wrong = sorted(name for name in given if name.startswith(PREFIX) and name not in known_names())
    return failed(", ".join(map(_with_nearest, wrong))) if wrong else passed("all are known")


@_settings(
    "settings.lease",
    asks="Is the lease long enough for a pause and short enough for a dead host?",
    why="A short lease expires at each pause of the machine, and the task runs twice; until a long one ends, "
    "no worker takes over the tasks of a dead host.",
    remedy="Set AGENTEXEC_LEASE_SECONDS from 5 to 120; the default is 30.",
    scenario="pause-worker",
)
def lease(site: Installation) -> CheckFinding:
    """Leases are renewed every third, and time-outs of Redis are at most a sixth of one."""
    seconds = site.settings.lease_seconds
    seen = f"{seconds:g} s"
    return passed(seen) if SHORTEST_LEASE <= seconds <= LONGEST_LEASE else warned(seen)


@_settings(
    "settings.graceful-timeout",
    box=Box.GRACE,
    asks="Has a task time to end when its pool stops?",
    why="Handlers that run are canceled at each deployment, and their tasks begin again elsewhere.",
    remedy="Set AGENTEXEC_GRACEFUL_SHUTDOWN_TIMEOUT to at least the hard time limit of a task; the default is 300.",
    scenario="sigterm-drain",
)
def graceful_timeout(site: Installation) -> CheckFinding:
    """FAIL for no time at all, WARN if a task may take longer by its time limit."""
    grace, limit = site.settings.graceful_shutdown_timeout, site.settings.task_time_limit
    seen = f"{grace:g} s" + (f", hard time limit {limit:g} s" if limit else "")
    return failed(seen) if not grace else warned(seen) if limit > grace else passed(seen)


@_settings(
    "settings.time-limit",
    asks="Does a handler that hangs end?",
    why="Without a hard limit it holds its slot until the next deployment; enough of them stop the pool.",
    remedy="Set AGENTEXEC_TASK_TIME_LIMIT, and AGENTEXEC_TASK_SOFT_TIME_LIMIT below it.",
    scenario="handler-blocks",
)
def time_limit(site: Installation) -> CheckFinding:
    """A task may have a limit of its own, so it is a warning."""
    hard, soft = site.settings.task_time_limit, site.settings.task_soft_time_limit
    if not hard:
        return warned("no hard time limit for tasks without one of their own")
    seen = f"hard {hard:g} s, soft {soft:g} s"
    return warned(f"{seen}: the soft limit never comes") if soft >= hard else passed(seen)


@_settings(
    "settings.log-format",
    box=Box.LOGGING,
    asks="Does a pool write structured logs?",
    why="Lines of text cannot be searched by task, attempt or agent id.",
    remedy="Set AGENTEXEC_LOG_FORMAT=json, or use agentexec.ops.logs.JSONFormatter in your own set-up.",
)
def log_format(site: Installation) -> CheckFinding:
    """WARN only: an application may set up the root logger itself."""
    found = site.settings.log_format
    return passed("json") if found == "json" else warned(found or "not set")


@_settings(
    "settings.metrics-port",
    box=Box.METRICS,
    asks="Does a pool serve metrics and health?",
    why="No alert can fire: not for a deep queue, for dead letters, or for workers that die.",
    remedy="Set AGENTEXEC_METRICS_PORT, and AGENTEXEC_METRICS_HOST=0.0.0.0 in a container.",
)
def metrics_port(site: Installation) -> CheckFinding:
    """WARN only: this may be the environment of an API server."""
    port = site.settings.metrics_port
    return passed(f"{site.settings.metrics_host}:{port}") if port else warned("no port is set")


@_settings(
    "settings.rate-limit",
    box=Box.RATE_LIMIT,
    asks="Does the API limit how many tasks a caller may create?",
    why="One caller in a loop fills the queue of all others.",
    remedy="Set AGENTEXEC_API_RATE_LIMIT, for example 100/minute.",
)
def rate_limit(site: Installation) -> CheckFinding:
    """The setting only: to see a 429, the doctor would have to create tasks."""
    limit = site.settings.api_rate_limit.strip().lower()
    if limit != "off" and not LIMIT.fullmatch(limit):
        return failed(f"{limit}, with which no API server starts")
    return failed("off") if limit == "off" else passed(limit)


@_settings(
    "settings.api-keys",
    asks="Does the API require a key?",
    why="Anyone who reaches it creates, reads and cancels tasks.",
    remedy="Set AGENTEXEC_API_KEYS (openssl rand -hex 32), or keep the API behind a proxy that authenticates.",
)
def api_keys(site: Installation) -> CheckFinding:
    """WARN only: a proxy may do it; `api.keys` asks the API."""
    return warned("no key is set") if site.settings.api_keys is None else passed("set")


@_settings(
    "settings.key-rotation",
    asks="Can a key of the API be replaced without an interruption: are two valid?",
    why="With one key, the callers get 401 from the restart of the API until each of them has the new one.",
    remedy="Set AGENTEXEC_API_KEYS=OLD,NEW, give NEW to the callers, then remove OLD (docs/production/api.md).",
)
def key_rotation(site: Installation) -> CheckFinding:
    """Keys are separated by commas; only their number is shown."""
    if site.settings.api_keys is None:
        raise CannotTell("no key is set (settings.api-keys)")
    count = len({key.strip() for key in site.settings.api_keys.get_secret_value().split(",")} - {""})
    seen = f"{count} valid"
    return passed(seen) if count > 1 else warned(seen)


@_settings(
    "settings.key-age",
    asks="Is no key older than 90 days?",
    why="A key that leaked once, in a log or with a laptop, is valid until it is replaced.",
    remedy="Replace the key, and note the day in the variable, as the production guide's key rotation does.",
)
def key_age(site: Installation) -> CheckFinding:
    """Of each variable ..._ROTATION_DATE, and of the files that ..._KEY_FILE and ..._KEYS_FILE name."""
    now, ages = datetime.now(UTC), dict[str, float]()
    for name, value in site.options.environment.items():
        if name.endswith("_ROTATION_DATE"):
            try:
                day = datetime.fromisoformat(value)
            except ValueError:
                return warned(f"{name} is no date", "Write it as YYYY-MM-DD.")
            ages[name] = (now - (day if day.tzinfo else day.replace(tzinfo=UTC))) / timedelta(days=1)
        elif name.endswith(("_KEY_FILE", "_KEYS_FILE")):
            with suppress(OSError):  # no such file, or the value is the key itself
                ages[name] = (now.timestamp() - Path(value).stat().st_mtime) / 86_400
    if not ages:
        raise CannotTell(
            "nothing records the age of a key; note its day, as in OPENAI_KEY_ROTATION_DATE=YYYY-MM-DD"
        )
    oldest = max(ages, key=ages.__getitem__)
    seen = f"{oldest}: {ages[oldest]:,.0f} days"
    return failed(seen) if ages[oldest] > OLDEST_KEY_DAYS else passed(seen)


def known_names() -> set[str]:
    """Every name with the prefix that agentexec reads."""
    names = {*OTHERS, *map(variable, Settings.model_fields)}
    for field in Settings.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            names |= {str(choice) for choice in field.validation_alias.choices}
    return {name for name in names if name.startswith(PREFIX)}


def _with_nearest(name: str) -> str:
    known = sorted(one.removeprefix(PREFIX) for one in known_names())  # the prefix makes all names similar
    near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
    return f"{name} (did you mean {PREFIX}{near[0]}?)" if near else name
