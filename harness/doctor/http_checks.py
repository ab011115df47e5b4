"""Checks of the HTTP API and the metrics by GET requests, and on demand by POST requests; none creates a task."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from http.client import HTTPException
from urllib.parse import unquote, urlsplit, urlunsplit

from harness.doctor.area import Area
from harness.doctor.check import Box, CheckFinding, check, failed, passed, warned
from harness.doctor.installation import Installation
from harness.doctor.unanswered import CannotTell
from harness.errors import describe_error

_http = partial(check, area=Area.HTTP)
# All requests wait at the same time, so a busy server has almost the time of a run.
SECONDS, MOST_BYTES = 4.0, 4_000_000
MOST_REQUESTS, MOST_SHOWN = 1000, 200
ORIGIN = "https://doctor.invalid"
# The names of the production guide that agentexec serves before the first task.
GAUGES = (
    "agentexec_queue_depth",
    "agentexec_dlq_depth",
    "agentexec_outbox_lag_seconds",
    "agentexec_server_up",
)
_SAMPLE = re.compile(r"^(agentexec_\w+)(\{[^}]*\})? (\S+)", re.MULTILINE)

Answer = tuple[int, Mapping[str, str], str]


class NoReply(CannotTell):
    """The server does not answer, or not by HTTP."""


@_http(
    "api.live",
    box=Box.HEALTH,
    asks="Does the API answer /health/live?",
    why="A load balancer or an orchestrator cannot see that it is gone.",
    remedy="Start it: uvicorn --factory agentexec.api:create_app. Then give --api-url.",
)
def live(site: Installation) -> CheckFinding:
    """200."""
    try:
        status, _, _ = _of_api(site, "/health/live")
    except NoReply as reason:
        return failed(str(reason))
    return passed("200") if status == 200 else failed(str(status))


@_http(
    "api.ready",
    box=Box.HEALTH,
    asks="Is the API ready?",
    why="It accepts requests that it cannot serve.",
    remedy="The answer names the part that is not ready.",
)
def ready(site: Installation) -> CheckFinding:
    """200 of /health/ready."""
    status, _, body = _of_api(site, "/health/ready")
    return passed("200") if status == 200 else failed(f"{status} {body[:MOST_SHOWN]}")


@_http(
    "api.keys",
    asks="Does the API refuse a request without a key?",
    why="Anyone who reaches it creates, reads and cancels tasks.",
    remedy="Set AGENTEXEC_API_KEYS of the API servers (openssl rand -hex 32).",
)
def keys(site: Installation) -> CheckFinding:
    """A list of one task without a key: 401, or 403 of a proxy."""
    status, _, _ = _of_api(site, "/api/tasks?page_size=1")
    return passed(str(status)) if status in (401, 403) else failed(f"{status} without a key")


@_http(
    "api.cors",
    asks="Does the API allow no foreign page to read its answers?",
    why="A page that a user of the API opens could read tasks with that user's credentials.",
    remedy="List the origins of your own pages instead of *.",
)
def cors(site: Installation) -> CheckFinding:
    """The header for an origin that is no page of the API."""
    _, headers, _ = _of_api(site, "/health/live", {"Origin": ORIGIN})
    allowed = headers.get("access-control-allow-origin")
    return failed(f"allows {allowed}") if allowed in ("*", ORIGIN) else passed("none allowed")


@_http(
    "api.rate-limit",
    box=Box.RATE_LIMIT,
    asks="Does the API answer 429 to a caller above the limit (--rate-limit-check)?",
    why="One caller in a loop fills the queue of all others.",
    remedy="Set AGENTEXEC_API_RATE_LIMIT of the API servers, for example 100/minute.",
)
def rate_limit(site: Installation) -> CheckFinding:
    """As many requests as the limit and one more; none creates a task, since its body has no name of one."""
    if not site.options.rate_limit_check or site.options.api_url is None:
        raise CannotTell("not asked; --api-url URL --rate-limit-check send requests that create no task")
    number = re.match(r"\s*(\d+)", site.settings.api_rate_limit)
    if number is None or int(number[1]) > MOST_REQUESTS:
        raise CannotTell(f"the limit is off (settings.rate-limit), or above {MOST_REQUESTS:,} requests")
    statuses = _posted(site, int(number[1]) + 1)
    if statuses[-1] in (401, 403):
        raise CannotTell("the API refuses the last key of AGENTEXEC_API_KEYS")
    seen = f"{statuses[-1]} after {len(statuses) - 1:,} requests"
    return passed(seen) if statuses[-1] == 429 else failed(seen)


@_http(
    "metrics.names",
    box=Box.METRICS,
    asks="Does the metrics URL have agentexec's metrics?",
    why="Alerts and dashboards over a name that is not there stay silent.",
    remedy="Install agentexec-reference[metrics] and set AGENTEXEC_METRICS_PORT. Then give --metrics-url.",
)
def metrics_names(site: Installation) -> CheckFinding:
    """The gauges that are there before the first task."""
    found = {match[1] for match in _SAMPLE.finditer(_metrics(site))}
    missing = [name for name in GAUGES if name not in found]
    return failed(f"no {', '.join(missing)}") if missing else passed(f"{len(found)} names")


@_http(
    "metrics.servers-up",
    box=Box.METRICS,
    asks="Do both servers answer the scrapes?",
    why="Gauges of a server that does not answer are absent, and alerts over them do not fire.",
    remedy="See the network from the pool to Redis and Postgres.",
)
def servers_up(site: Installation) -> CheckFinding:
    """agentexec_server_up."""
    down = {
        match[2] or ""
        for match in _SAMPLE.finditer(_metrics(site))
        if match[1] == "agentexec_server_up" and match[3] not in ("1", "1.0")
    }
    return warned(f"0 for {', '.join(sorted(down))[:MOST_SHOWN]}") if down else passed("both answer")


def _of_api(site: Installation, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    if site.options.api_url is None:
        raise CannotTell("no API given; --api-url URL names it")
    return _get(site.options.api_url.rstrip("/") + path, headers or {})


def _metrics(site: Installation) -> str:
    if site.options.metrics_url is None:
        raise CannotTell("no metrics given; --metrics-url URL names them")
    status, _, body = _get(site.options.metrics_url, {})
    if status != 200:
        raise CannotTell(f"the metrics URL answers {status}; with keys set, ask a pool's port instead")
    return body


def _posted(site: Installation, count: int) -> list[int]:
    """The statuses of so many requests for a task without a name, to the first one that is no 422."""
    given = site.settings.api_keys
    keys = [key for key in map(str.strip, given.get_secret_value().split(",")) if key] if given else []
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": f"Bearer {keys[-1]}"} if keys else {}
    url = f"{(site.options.api_url or '').rstrip('/')}/api/tasks"
    statuses = [422]
    while statuses[-1] == 422 and len(statuses) <= count:
        statuses.append(_get(url, headers, body=b"{}")[0])
    return statuses[1:]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _get(url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
    """Status, headers in lower case, and text; the status of an error too. With a body, the request is a POST."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    try:
        if not url.startswith(("http://", "https://")):
            raise CannotTell("the URL does not begin with http:// or https://")
        plain, all_headers = _with_login(url, headers)
        request = urllib.request.Request(plain, body, all_headers)  # noqa: S310 - see above
        with opener.open(request, timeout=SECONDS) as answer:
            lower = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status, lower, answer.read(MOST_BYTES).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            lower = {name.lower(): value for name, value in error.headers.items()}
            return error.code, lower, error.read(MOST_BYTES).decode("utf-8", "replace")
    except (OSError, HTTPException, ValueError) as error:
        raise NoReply(f"no answer ({describe_error(error)[:MOST_SHOWN]})") from None


def _with_login(url: str, headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The URL without its user and password, which become a header."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    word = b64encode(unquote(login).encode()).decode()
    basic = {"Authorization": f"Basic {word}"} if at else {}
    return urlunsplit(parts._replace(netloc=host)), {**basic, **headers}
