"""ASGI middleware in front of all routes: bearer authentication and a limit of the body size, before any parsing.

Every route needs a key, also one that an application adds, unless `OPEN` has its path.
"""

from __future__ import annotations

import hashlib
import hmac

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from agentexec.errors import ConfigurationError

# The paths that need no key, below the path of the application.
OPEN = frozenset({"/health", "/health/live", "/health/ready"})
CALLER = "agentexec.caller"  # the key of the caller's name in the scope
SHORTEST_KEY = 16  # characters

_UNAUTHORIZED = JSONResponse(
    {"detail": "Send a valid key as `Authorization: Bearer KEY`."},
    status_code=401,
    headers={"WWW-Authenticate": "Bearer"},
)
_POLICY_VIOLATION = WebSocketClose(code=1008)


class Keys:
    """The valid bearer keys, stored as digests.

    Several are valid at once, so that a new key can be distributed before the old one is removed.
    """

    def __init__(self, text: str) -> None:
        """Parse keys separated by commas; raises `ConfigurationError` for a short one, without showing it."""
        keys = [key.strip() for key in text.split(",") if key.strip()]
        if not keys or min(map(len, keys)) < SHORTEST_KEY:
            raise ConfigurationError(
                f"Every key in AGENTEXEC_API_KEYS has at least {SHORTEST_KEY} characters; "
                "make one with `openssl rand -hex 32`, and separate several by commas."
            )
        self._digests = tuple(_digest(key) for key in keys)

    def caller(self, authorization: str | None) -> str | None:
        """A name for the sender of this Authorization header; None if its key is not valid.

        The name does not reveal the key. The time does not depend on the key.
        """
        scheme, _, presented = (authorization or "").partition(" ")
        digest = _digest(presented.strip())
        matches = [hmac.compare_digest(digest, known) for known in self._digests]  # compares with all of them
        return f"key-{digest.hex()[:16]}" if any(matches) and scheme.lower() == "bearer" else None


class Guard:
    """Checks the bearer key, if there are keys, and limits the body to `max_body` bytes."""

    def __init__(self, app: ASGIApp, *, keys: Keys | None, max_body: int) -> None:
        self._app = app
        self._keys = keys
        self._max_body = max_body
        limit = f"The body is larger than {max_body} bytes"
        detail = f"{limit}; store the data elsewhere and send a reference to it."
        self._too_large = JSONResponse({"detail": detail}, status_code=413)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with 401 or 413, or forward the request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        caller = self._caller(scope)
        if caller is None:
            refusal = _UNAUTHORIZED if scope["type"] == "http" else _POLICY_VIOLATION
            await refusal(scope, receive, send)
            return
        scope[CALLER] = caller
        if scope["type"] == "http":
            body = await self._body(Headers(scope=scope), receive)
            if body is None:
                await self._too_large(scope, receive, send)
                return
            receive = _replaying(body, receive)
        await self._app(scope, receive, send)

    def _caller(self, scope: Scope) -> str | None:
        """A name for the sender of the request; None if it needs a key and has none."""
        # Below the path of the application, which is `root_path` behind a proxy and in a mounted application.
        if self._keys is None or scope["path"].removeprefix(scope.get("root_path", "")) in OPEN:
            client = scope.get("client")
            return client[0] if client else "local"
        return self._keys.caller(Headers(scope=scope).get("authorization"))

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """The whole body; None as soon as it exceeds the limit."""
        announced = headers.get("content-length", "0")
        if not announced.isdecimal() or int(announced) > self._max_body:
            return None
        chunks, size, more = [], 0, True
        while more:
            message = await receive()
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._max_body:
                return None
            chunks.append(chunk)
            more = message["type"] == "http.request" and message.get("more_body", False)
        return b"".join(chunks)


def _replaying(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
