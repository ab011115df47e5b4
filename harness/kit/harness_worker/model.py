"""The call of a model, from a handler: to the endpoint that the run serves, if it serves one.

A client of a model tries again after a refusal, an error of the server, or an answer that is cut off. So a handler with
such a client does not fail while its endpoint is disturbed: it takes longer.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ENDPOINT_FILE = "llm-endpoint"
"""The file beside the socket of the gates: the base URL of the endpoint, and in a second line the key."""

MOST_SECONDS = 60.0
"""How long a client tries until it gives up."""
_TIMEOUT_SECONDS = 30.0
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 1.0
_OK = 200
_END = b"data: [DONE]\n\n"


class ModelAway(Exception):
    """The endpoint gave no whole answer in time."""


def served_endpoint() -> str | None:
    """The content of the file beside the gates; None if the run serves no endpoint."""
    gate = os.environ.get("HARNESS_GATE")
    try:
        return (Path(gate).parent / ENDPOINT_FILE).read_text("utf-8") if gate else None
    except OSError:
        return None


def ask(endpoint: str, task: int, activity: str) -> None:
    """Ask for one answer as a stream, and return once it is whole; raises `ModelAway`."""
    url, key = endpoint.split()
    body = {"model": "any", "stream": True, "messages": [{"role": "user", "content": f"Task {task}."}]}
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "X-Activity-Id": activity,
        "X-Activity-Step": "1",
    }
    end = time.monotonic() + MOST_SECONDS
    while (pause := _try_once(url, json.dumps(body), headers)) is not None:
        if time.monotonic() > end:
            raise ModelAway(
                f"{url} gave no whole answer within {MOST_SECONDS:g} s. See the faults of the run."
            )
        time.sleep(min(pause, _LONGEST_PAUSE_SECONDS))


def _try_once(url: str, body: str, headers: dict[str, str]) -> float | None:
    """None after a whole answer, else after how many seconds to try again."""
    from http.client import HTTPConnection, HTTPException

    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("POST", f"{address.path}/chat/completions", body, headers)
        answer = connection.getresponse()
        if answer.read().endswith(_END) and answer.status == _OK:
            return None
        return _asked_pause(answer.getheader("Retry-After"))
    except (OSError, HTTPException):
        return _PAUSE_SECONDS
    finally:
        connection.close()


def _asked_pause(value: Any) -> float:
    try:
        return max(_PAUSE_SECONDS, float(value))
    except (TypeError, ValueError):
        return _PAUSE_SECONDS
