"""A fault that loses replies of a server, in a proxy between the target and the server.

The server has carried out the request whose reply is lost, and the client cannot know that. A client that sends the
request again must not cause two effects, and a client that gives up must not lose what the server gave it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from harness.environments.base import Service
from harness.errors import GateError, UsageError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import some_workers
from harness.history import InjectionKind
from harness.history.promises import Loss
from harness.wire import Wire

# A loss skips up to this many replies first, so that it is not always the most frequent kind of reply.
_MOST_SKIPPED, _MOST_SKIPPED_COMMITS = 8, 2
# A reply as long as this has an id or a message in it. Most replies to a worker that polls say only that there is none.
_FILLED_BYTES = 40
# The request whose lost reply leaves open whether everything before it took effect.
_COMMITS: Mapping[Service, bytes] = {"postgres": b"COMMIT"}


@dataclass(frozen=True, kw_only=True, slots=True)
class LoseReply:
    """Lose up to `replies` replies of a server in the course of `seconds`; each loss ends its connection.

    Every second one is any reply, of Postgres the reply to a commit. The others are replies that are long enough to
    carry an id or a message.
    The scenario names the server in `proxied`, so that the target reaches it through a `Wire`.
    """

    service: Service
    at: float
    replies: int = 5
    seconds: float = 2.0
    gated: bool = False
    name: str = "lose-reply"
    kind: InjectionKind = InjectionKind.DISCONNECT
    loss: Loss = Loss.REPLY_LOST

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        self._proxy(context)
        value = {"service": self.service, "replies": self.replies, "seconds": self.seconds}
        return Aim(pids=(), pool=some_workers(context)[0], value=value)

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Lose the replies, at most one in each part of the time; raises `GateError` if none passed at all."""
        proxy, each = self._proxy(context), self.seconds / self.replies
        draw = Random(planned.draw)  # noqa: S311 - a schedule, not a secret
        start, lost = time.monotonic(), 0
        for number in range(1, self.replies + 1):
            left = start + number * each - time.monotonic()
            skip, at_least, to = self._kind(number, draw)
            lost += proxy.lose_reply(skip=skip, within=max(0.0, left), at_least=at_least, to=to)
            time.sleep(max(0.0, start + number * each - time.monotonic()))
        if not lost:
            raise GateError(
                f"No reply of {self.service} passed the proxy in {self.seconds:g} s, so none was lost. "
                f"Check that the target uses the URL of {self.service} that it was given."
            )

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Nothing to heal: the proxy loses a reply only while it is requested to."""

    def _kind(self, number: int, draw: Random) -> tuple[int, int, bytes]:
        """What the loss `number` is of: replies to skip, bytes of the reply, bytes in its request."""
        if number % 2:
            return 0, _FILLED_BYTES, b""
        commit = _COMMITS.get(self.service, b"")
        return draw.randrange(_MOST_SKIPPED_COMMITS if commit else _MOST_SKIPPED), 0, commit

    def _proxy(self, context: FaultContext) -> Wire:
        proxy = context.proxies.get(self.service)
        if proxy is None:
            raise UsageError(
                f"This fault needs a proxy in front of {self.service}. Name it in the scenario: "
                f"proxied=({self.service!r},)."
            )
        return proxy
