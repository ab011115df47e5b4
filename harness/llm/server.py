"""The HTTP server of the simulated endpoint, over aiohttp."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from aiohttp import web

from harness.draws import seeded
from harness.llm.answers import planned_answer
from harness.llm.chat import ChatFormat
from harness.llm.clock import EndpointClock
from harness.llm.delivery import AnswerDelivery
from harness.llm.disturbances import SLOWDOWN, STATUS_FAULTS, DisturbanceSchedule, EndpointFault, Trouble
from harness.llm.limits import RateAdmission, RateLimiter, duration_text
from harness.llm.meter import Meter, MeteredRequest, RequestOutcome, ToolRun, key_label
from harness.llm.profile import EndpointProfile
from harness.llm.request import (
    Api,
    ModelRequest,
    RefusedRequest,
    RequestLabels,
    chat_request,
    encodable,
    responses_request,
)
from harness.llm.responses import ResponsesFormat, StoredResponses
from harness.llm.tokens import PromptCache, token_count
from harness.llm.words import words

_LARGEST_BODY = 64 * 2**20
_LISTED_MODEL = "simulated-model"
_CLIENT_LEFT = 499
_MOST_ORDERS = 100_000
_CREATED = 1_767_225_600


@dataclass(slots=True)
class EndpointServer:
    """The handlers of the endpoint and their state. All of it belongs to one event loop."""

    profile: EndpointProfile
    meter: Meter = field(default_factory=Meter)
    stopping: bool = False
    clock: EndpointClock = field(init=False)
    disturbances: DisturbanceSchedule = field(init=False)
    _limiter: RateLimiter = field(init=False)
    _cache: PromptCache = field(default_factory=PromptCache)
    _stored: StoredResponses = field(default_factory=StoredResponses)
    # How often each key, or each step of an activity, has asked, those that asked last.
    _orders: OrderedDict[tuple[str, ...], int] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.clock = EndpointClock(self.profile.time_scale, self.meter)
        self.disturbances = DisturbanceSchedule(self.profile.seed)
        self.disturbances.add(self.profile.disturbances)
        self._limiter = RateLimiter(self.profile.requests_per_minute, self.profile.tokens_per_minute)

    def application(self) -> web.Application:
        """The routes of the endpoint under /v1."""
        application = web.Application(client_max_size=_LARGEST_BODY, middlewares=[_errors])
        application.add_routes(
            [
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/responses", self._responses),
                web.get("/v1/models", self._models),
                web.get("/v1/models/{model}", self._model),
                web.post("/v1/tools/{name}", self._tool),
            ]
        )
        return application

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, Api.CHAT)

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, Api.RESPONSES)

    async def _answer(self, request: web.Request, api: Api) -> web.StreamResponse:
        key = self._key(request)
        body = await json_body(request)
        record = self._begin(request, key, api, body)
        headers = {"x-request-id": record.id}
        try:
            labels = RequestLabels.of(request.headers, body)
            record.activity, record.step = labels.activity, labels.step
            wanted = self._wanted(api, body, labels)
            response = await self._deliver(request, wanted, key, record, headers)
            cut = record.outcome is RequestOutcome.CUT
            self.meter.end(record, RequestOutcome.CUT if cut else RequestOutcome.COMPLETE, response.status)
        except RefusedRequest as refusal:
            self.meter.end(record, RequestOutcome.REFUSED, refusal.status)
            refusal.headers.update(headers)
            raise
        except (asyncio.CancelledError, ConnectionError):
            left = RequestOutcome.CUT if self.stopping else RequestOutcome.DISCONNECTED
            self.meter.end(record, left)
            raise
        except Exception:
            self.meter.end(record, RequestOutcome.CUT, 500)
            raise
        return response

    def _begin(self, request: web.Request, key: str, api: Api, body: Mapping[str, Any]) -> MeteredRequest:
        record = self.meter.begin(
            id="",
            key=key_label(key),
            api=str(api),
            model=str(body.get("model") or "")[:200],
            stream=bool(body.get("stream")),
            activity=None,
            step=None,
            client_id=request.headers.get("X-Client-Request-Id", "")[:200] or None,
        )
        record.id = f"req_{record.number}"
        return record

    def _wanted(self, api: Api, body: Mapping[str, Any], labels: RequestLabels) -> ModelRequest:
        """The request as the model gets it."""
        if api is Api.CHAT:
            wanted = chat_request(body, labels)
        else:
            wanted = responses_request(body, labels, self._stored.before(body))
        if self.profile.models and wanted.model not in self.profile.models:
            raise _no_model(wanted.model)
        return wanted

    async def _deliver(
        self,
        request: web.Request,
        wanted: ModelRequest,
        key: str,
        record: MeteredRequest,
        headers: dict[str, str],
    ) -> web.StreamResponse:
        answering, troubling = self._draws(key, wanted.labels)
        trouble = self._trouble(wanted.labels, troubling)
        record.fault = None if trouble.fault is None else str(trouble.fault)
        if trouble.fault in STATUS_FAULTS:
            raise self._failure(int(str(trouble.fault)), trouble)
        if trouble.fault is EndpointFault.STREAM_ERROR and not wanted.stream:
            raise self._failure(500, trouble)
        answer = planned_answer(wanted, self.profile, answering, trouble.fault)
        prompt, cached = self._prompt(key, wanted)
        self._admit(key, prompt + answer.tokens, headers)
        record.prompt_tokens, record.cached_tokens = prompt, cached
        record.tool_calls = len(answer.calls)
        created = int(time.time())
        form: ChatFormat | ResponsesFormat
        before: Sequence[Mapping[str, Any]] = ()
        if wanted.api is Api.CHAT:
            form = ChatFormat(wanted, answer, record, created)
        else:
            form = ResponsesFormat(wanted, answer, record, created)
            # Now: when this answer is sent, the one before it may be stored no longer.
            before = self._stored.before(wanted.body)
        headers["openai-processing-ms"] = "0"
        delivery = AnswerDelivery(
            request=request,
            profile=self.profile,
            clock=self.clock,
            record=record,
            answer=answer,
            format=form,
            trouble=trouble,
            rng=answering,
            headers=headers,
            timed=wanted.labels.timed and wanted.stream,
        )
        try:
            response = await delivery.send(stream=wanted.stream)
        except (asyncio.CancelledError, ConnectionError):
            delivery.interrupted()
            raise
        if isinstance(form, ResponsesFormat):
            self._stored.store(wanted.body, form, before)
        return response

    def _draws(self, key: str, labels: RequestLabels) -> tuple[Random, Random]:
        """The draws of the answer, and those of its faults.

        A named step has the same answer each time. Its faults differ from time to time, so that a retry can succeed.
        """
        identity = [part for part in (labels.activity, labels.step) if part is not None] or [key]
        order = self._orders.pop((*identity,), 0)
        self._orders[*identity] = order + 1
        if len(self._orders) > _MOST_ORDERS:
            self._orders.popitem(last=False)
        name = (self.profile.seed, *identity)
        answering = 0 if labels.step is not None else order
        return seeded(*name, "answer", answering), seeded(*name, "faults", order)

    def _trouble(self, labels: RequestLabels, rng: Random) -> Trouble:
        trouble = self.disturbances.trouble(self.clock.now(), rng)
        if labels.fault is not None:
            slow = SLOWDOWN if labels.fault is EndpointFault.SLOW else 1
            return Trouble(fault=labels.fault, slowdown=slow * trouble.slowdown)
        return trouble

    def _prompt(self, key: str, wanted: ModelRequest) -> tuple[int, int]:
        """The tokens of the prompt, and how many of them are cached."""
        labels = wanted.labels
        if labels.prompt_tokens is not None:
            return labels.prompt_tokens, min(labels.cached_tokens or 0, labels.prompt_tokens)
        tokens, cached = token_count(wanted.prompt), self._cache.cached(key, wanted.prompt)
        return tokens, cached if labels.cached_tokens is None else min(labels.cached_tokens, tokens)

    def _admit(self, key: str, tokens: int, headers: dict[str, str]) -> None:
        """Take the request from the limits of its key; raises `RefusedRequest` with 429 if they are exceeded."""
        admission = self._limiter.admit(key, tokens, self.clock.now())
        headers.update(self._limit_headers(admission))
        if admission.exceeded is None:
            return
        limit, remaining, _ = admission.limits[admission.exceeded]
        asked = tokens if admission.exceeded == "tokens" else 1
        what = "Request too large" if admission.too_large else "Rate limit reached"
        raise RefusedRequest(
            429,
            f"{what} on {admission.exceeded} per min: limit {limit}, remaining {remaining}, requested {asked}.",
            kind=admission.exceeded,
            code="rate_limit_exceeded",
            headers={**headers, **self._retry_headers(admission.wait)},
        )

    def _limit_headers(self, admission: RateAdmission) -> dict[str, str]:
        headers = {}
        for name, (limit, remaining, reset) in admission.limits.items():
            headers[f"x-ratelimit-limit-{name}"] = str(limit)
            headers[f"x-ratelimit-remaining-{name}"] = str(remaining)
            headers[f"x-ratelimit-reset-{name}"] = duration_text(reset / self.profile.time_scale)
        return headers

    def _retry_headers(self, wait: float) -> dict[str, str]:
        """When to try again, in real time: whole seconds, as HTTP has it, and milliseconds."""
        milliseconds = math.ceil(wait * 1000 / self.profile.time_scale) + 1
        return {"Retry-After": str(-(-milliseconds // 1000)), "retry-after-ms": str(milliseconds)}

    def _failure(self, status: int, trouble: Trouble) -> RefusedRequest:
        """The error of a fault that is an HTTP status."""
        if trouble.fault is EndpointFault.RATE_LIMITED:
            return RefusedRequest(
                429,
                "Rate limit reached on requests per min, on purpose.",
                kind="requests",
                code="rate_limit_exceeded",
                headers=self._retry_headers(trouble.retry_after),
            )
        return RefusedRequest(
            status, f"The simulated endpoint failed on purpose ({status}).", kind="server_error"
        )

    def _key(self, request: web.Request) -> str:
        """The API key of a request; raises `RefusedRequest` if it is missing or not accepted."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise RefusedRequest(
                401,
                "You didn't provide an API key; send it as Authorization: Bearer KEY.",
                code="invalid_api_key",
            )
        if self.profile.keys and key.strip() not in self.profile.keys:
            raise RefusedRequest(401, "Incorrect API key provided.", code="invalid_api_key")
        return encodable(key.strip())

    async def _models(self, request: web.Request) -> web.Response:
        self._key(request)
        listed = [_model_value(name) for name in self.profile.models or [_LISTED_MODEL]]
        return web.json_response({"object": "list", "data": listed})

    async def _model(self, request: web.Request) -> web.Response:
        self._key(request)
        name = request.match_info["model"]
        if self.profile.models and name not in self.profile.models:
            raise _no_model(name)
        return web.json_response(_model_value(name))

    async def _tool(self, request: web.Request) -> web.Response:
        """Run a simulated tool: any JSON in, a seeded result out. Each run counts, whether or not it is awaited."""
        key = self._key(request)
        labels = RequestLabels.of(request.headers, {})
        name, call = request.match_info["name"], request.headers.get("X-Tool-Call-Id")
        self.meter.tool_run(
            ToolRun(
                name=name,
                call=call,
                activity=labels.activity,
                step=labels.step,
                key=key_label(key),
                started=time.monotonic_ns(),
            )
        )
        rng = seeded(self.profile.seed, "tool", labels.activity, name, call)
        await self.clock.until(self.clock.now() + self.profile.tool_time.draw(rng))
        return web.json_response({"tool": name, "result": "".join(words(20, rng)).strip()})


async def json_body(request: web.Request) -> Mapping[str, Any]:
    """The JSON object of a request; raises `RefusedRequest` if it has none."""
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise RefusedRequest(400, "We could not parse the JSON body of your request; send a JSON object.")
    return body


def _no_model(name: str) -> RefusedRequest:
    return RefusedRequest(
        404, f"The model '{name[:80]}' does not exist.", param="model", code="model_not_found"
    )


def _model_value(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "harness"}


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Answer every refusal in the format of OpenAI's errors."""
    try:
        response: web.StreamResponse = await handler(request)
    except RefusedRequest as refusal:
        return _refused(refusal)
    except ConnectionError:
        # The client is gone, which is no error of the endpoint: aiohttp would log one.
        return web.Response(status=_CLIENT_LEFT)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _refused(RefusedRequest(error.status, f"{error.reason}: {request.method} {request.path}"))
    return response


def _refused(refusal: RefusedRequest) -> web.Response:
    return web.json_response(refusal.body, status=refusal.status, headers=refusal.headers)
