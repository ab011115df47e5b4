"""Rate limits per API key: requests and tokens per minute, as token buckets that refill continuously."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_MINUTE = 60.0
_MANY_BUCKETS = 20_000


@dataclass(slots=True)
class _Bucket:
    limit: int
    level: float
    filled_at: float

    def fill(self, now: float) -> None:
        """Add what has flowed in since the last call."""
        self.level = min(self.limit, self.level + (now - self.filled_at) * self.limit / _MINUTE)
        self.filled_at = now

    def wait(self, amount: int) -> float:
        """Simulated seconds until the bucket holds this amount."""
        return max(0.0, (amount - self.level) * _MINUTE / self.limit)


@dataclass(frozen=True, kw_only=True, slots=True)
class RateAdmission:
    """Whether a request may run, what its headers say, and how long it has to wait; times are simulated seconds.

    `exceeded` is the limit that refuses it: `requests` or `tokens`. A request that is `too_large` can never run.
    """

    exceeded: str | None
    wait: float
    too_large: bool
    limits: Mapping[str, tuple[int, int, float]]
    """By limit: its size, what remains, and the seconds until it is full again."""


@dataclass(slots=True)
class RateLimiter:
    """The limits of all keys; None is no limit."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    _buckets: dict[tuple[str, str], _Bucket] = field(default_factory=dict)
    _most_buckets: int = _MANY_BUCKETS

    def admit(self, key: str, tokens: int, now: float) -> RateAdmission:
        """Take one request and its tokens from the buckets of the key, or nothing if one of them lacks that."""
        if len(self._buckets) >= self._most_buckets:
            self._forget_full(now)
        amounts = {}
        for name, limit in (("requests", self.requests_per_minute), ("tokens", self.tokens_per_minute)):
            if limit is not None:
                bucket = self._buckets.setdefault((key, name), _Bucket(limit, limit, now))
                bucket.fill(now)
                amounts[name] = bucket, 1 if name == "requests" else tokens
        exceeded = next((name for name, (bucket, amount) in amounts.items() if bucket.wait(amount)), None)
        if exceeded is None:
            for bucket, amount in amounts.values():
                bucket.level -= amount
        return RateAdmission(
            exceeded=exceeded,
            wait=max((bucket.wait(amount) for bucket, amount in amounts.values()), default=0.0),
            too_large=any(amount > bucket.limit for bucket, amount in amounts.values()),
            limits={
                name: (bucket.limit, int(bucket.level), bucket.wait(bucket.limit))
                for name, (bucket, _) in amounts.items()
            },
        )

    def _forget_full(self, now: float) -> None:
        """Drop the buckets that are full: they are as new. Twice as many as are left may come before the next time."""
        for bucket in self._buckets.values():
            bucket.fill(now)
        self._buckets = {key: each for key, each in self._buckets.items() if each.level < each.limit}
        self._most_buckets = max(_MANY_BUCKETS, 2 * len(self._buckets))


def duration_text(seconds: float) -> str:
    """A time as the x-ratelimit-reset headers have it: `850ms`, `1.5s`, `6m0s`."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}m{rest:.0f}s" if minutes else f"{rest:.3g}s"
