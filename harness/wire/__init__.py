"""The wire: a TCP proxy that knows the commands of Redis and Postgres, and can strike each of them."""

from harness.wire.conditions import CLEAR, Conditions, Direction
from harness.wire.strikes import ArmedStrike, Blow, Command, Moment, Strike, WireClient
from harness.wire.wire import Wire

__all__ = [
    "CLEAR",
    "ArmedStrike",
    "Blow",
    "Command",
    "Conditions",
    "Direction",
    "Moment",
    "Strike",
    "Wire",
    "WireClient",
]
