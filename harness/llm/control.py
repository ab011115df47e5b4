"""The endpoint's own routes beside the API: its meter, and faults that are added while it runs."""

from __future__ import annotations

import asyncio

from aiohttp import web

from harness.errors import UsageError
from harness.llm.disturbances import Disturbance
from harness.llm.endpoint_process import EndpointProcess
from harness.llm.request import RefusedRequest
from harness.llm.server import EndpointServer, json_body

_LONGEST_SETTLE = 60.0
_SETTLE_STEP = 0.01


class ControlRoutes:
    """Handlers of `/meter` and `/faults`. They need no API key: the endpoint listens on this machine."""

    def __init__(self, server: EndpointServer) -> None:
        self._server = server

    def add_to(self, application: web.Application) -> None:
        """Add the routes to the application of the endpoint."""
        application.add_routes(
            [
                web.get("/meter", self._meter),
                web.get("/meter/requests", self._requests),
                web.post("/meter/reset", self._reset),
                web.post("/faults", self._disturb),
                web.delete("/faults", self._calm),
            ]
        )

    async def _meter(self, request: web.Request) -> web.Response:
        await self._settle(request)
        return web.json_response(
            {**self._server.meter.to_value(), "process": EndpointProcess.own().to_value()}
        )

    async def _requests(self, request: web.Request) -> web.Response:
        await self._settle(request)
        return web.json_response(self._server.meter.records(request.query.get("activity")))

    async def _reset(self, request: web.Request) -> web.Response:
        """Answer the last sums, and begin again."""
        await self._settle(request)
        last = self._server.meter.to_value()
        self._server.meter.reset()
        return web.json_response(last)

    async def _disturb(self, request: web.Request) -> web.Response:
        """Begin a disturbance now."""
        try:
            disturbance = Disturbance.of_value(await json_body(request))
        except UsageError as error:
            raise RefusedRequest(400, str(error)) from None
        self._server.disturbances.add([disturbance], self._server.clock.now())
        return web.json_response({"disturbances": 1})

    async def _calm(self, _request: web.Request) -> web.Response:
        self._server.disturbances.clear()
        return web.json_response({"disturbances": 0})

    async def _settle(self, request: web.Request) -> None:
        """Wait up to `settle` real seconds until no request runs."""
        text = request.query.get("settle", "0")
        try:
            seconds = min(float(text), _LONGEST_SETTLE)
        except ValueError:
            raise RefusedRequest(400, "settle is no number of seconds; give one.", param="settle") from None
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self._server.meter.running and loop.time() < end:  # noqa: ASYNC110 - rare, and the meter knows no event loop
            await asyncio.sleep(_SETTLE_STEP)
