"""A running endpoint: on a thread for tests, or as the work of a command."""

from __future__ import annotations

import asyncio
import errno
import json
import resource
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Self
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from harness.errors import EnvironmentUnavailable, UsageError
from harness.llm.disturbances import Disturbance
from harness.llm.meter import ENDPOINT_KEY, Meter, MeterRecords
from harness.llm.profile import EndpointProfile

_STREAMS_AT_ONCE = 4_096
_GRACE_SECONDS = 0.2
_ANSWER_SECONDS = 90.0
_MOST_FILES = 65_536


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint that runs, by its address `root`."""

    root: str
    api_key: str = ENDPOINT_KEY

    @classmethod
    def at(cls, url: str) -> Self:
        """The endpoint of a URL, which may be its `base_url`."""
        return cls(url.rstrip("/").removesuffix("/v1"))

    @property
    def base_url(self) -> str:
        """What a client of OpenAI takes as `base_url`."""
        return f"{self.root}/v1"

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that make a client of OpenAI use this endpoint."""
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": self.api_key}

    def meter(self, settle: float = 5.0) -> dict[str, Any]:
        """The sums of the meter, after at most `settle` seconds of waiting for running requests."""
        found: dict[str, Any] = self.fetch(f"/meter?settle={settle:g}")
        return found

    def records(self, activity: str | None = None, settle: float = 5.0) -> MeterRecords:
        """Each metered request, of one activity or of all, after the same wait."""
        chosen = "" if activity is None else f"&activity={quote(activity, safe='')}"
        return MeterRecords.of_value(self.fetch(f"/meter/requests?settle={settle:g}{chosen}"))

    def reset(self) -> None:
        """Set the meter to zero."""
        self.fetch("/meter/reset", "POST")

    def disturb(self, disturbance: Disturbance | str) -> None:
        """Begin a disturbance now, as a value or as a text such as `429 lasting=10`."""
        value = Disturbance.parse(disturbance) if isinstance(disturbance, str) else disturbance
        names = ("fault", "share", "after", "lasting", "every", "slowdown", "retry_after")
        self.fetch("/faults", "POST", {name: getattr(value, name) for name in names})

    def calm(self) -> None:
        """End all disturbances."""
        self.fetch("/faults", "DELETE")

    def fetch(self, path: str, method: str = "GET", body: object = None) -> Any:
        """The JSON that a route outside the API answers, such as `/meter`."""
        if not self.root.startswith(("http://", "https://")):
            raise UsageError(
                f"{self.root!r} is no URL of an endpoint. Give one such as http://127.0.0.1:8080."
            )
        if "@" in self.root:
            raise UsageError(
                "The URL of the endpoint has a user name; leave it out, as these routes need none."
            )
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.root}{path}", data=data, method=method)  # noqa: S310 - the scheme is checked above
        try:
            # Past any proxy of the environment: the endpoint is on this machine or beside it.
            with build_opener(ProxyHandler({})).open(request, timeout=_ANSWER_SECONDS) as answer:
                return json.loads(answer.read())
        except (OSError, ValueError, HTTPException) as error:
            raise EnvironmentUnavailable(
                f"The endpoint at {self.root} does not answer ({error}). Start it with `harness llm serve`."
            ) from error


def allow_many_connections() -> None:
    """Raise the soft limit of open files as far as the hard one allows: the usual 1,024 are too few streams."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@asynccontextmanager
async def listening(
    profile: EndpointProfile, *, host: str = "127.0.0.1", port: int = 0, grace: float = _GRACE_SECONDS
) -> AsyncIterator[tuple[Endpoint, Meter]]:
    """An endpoint on this event loop until the end of the block, and its meter, which is final after the block.

    At the end running answers get `grace` real seconds and are cut then.
    """
    try:
        from aiohttp import web

        from harness.llm.control import ControlRoutes
        from harness.llm.server import EndpointServer
    except ModuleNotFoundError as error:
        raise UsageError(
            f"The simulated endpoint needs the package {error.name}. Install agentexec-harness[llm]."
        ) from error
    server = EndpointServer(profile)
    application = server.application()
    ControlRoutes(server).add_to(application)
    # A handler is canceled when its client disconnects, so that the meter has the moment of it.
    runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=grace)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=_STREAMS_AT_ONCE)
        await _start(site, host, port)
        name = f"[{host}]" if ":" in host else host
        endpoint = Endpoint(f"http://{name}:{runner.addresses[0][1]}", (*profile.keys, ENDPOINT_KEY)[0])
        yield endpoint, server.meter
    finally:
        server.stopping = True
        await runner.cleanup()


async def _start(site: Any, host: str, port: int) -> None:
    try:
        await site.start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"Port {port} of {host} is taken; give another one with --port, or 0 for a free one."
            ) from error
        raise UsageError(
            f"The endpoint cannot listen on {host}:{port} ({error.strerror}). Give another --host or --port."
        ) from error


@contextmanager
def serving(
    profile: EndpointProfile | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> Iterator[Endpoint]:
    """An endpoint on a thread of this process until the end of the block."""
    started: list[Endpoint | BaseException] = []
    ready, stop = threading.Event(), _Stop()

    async def serve() -> None:
        async with listening(profile or EndpointProfile(), host=host, port=port) as (endpoint, _):
            wait = stop.arm()
            started.append(endpoint)
            ready.set()
            await wait

    def work() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread of the caller
            started.append(error)
            ready.set()

    thread = threading.Thread(target=work, name="llm-endpoint", daemon=True)
    thread.start()
    ready.wait()
    try:
        if isinstance(started[0], BaseException):
            raise started[0]
        yield started[0]
    finally:
        stop.set()
        thread.join()
    if len(started) > 1 and isinstance(started[1], BaseException):
        raise started[1]


class _Stop:
    """An event of an event loop that another thread sets."""

    def __init__(self) -> None:
        self._set: Callable[[], object] = lambda: None

    def arm(self) -> asyncio.Future[None]:
        """A future of the running loop that is done after `set`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._set = lambda: loop.call_soon_threadsafe(future.set_result, None)
        return future

    def set(self) -> None:
        """End the wait, if it has begun."""
        self._set()
