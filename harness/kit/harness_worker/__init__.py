"""The worker kit: what a worker and a client of an adapter need. Standard library only, Python 3.9 and later.

`worker` records the runs of tasks in worker processes, `client` answers the calls of the harness, and `settings` has
the settings of the run. docs/reference/protocol.md describes the protocols behind them.
"""

from __future__ import annotations

from . import client, worker
from .environment import SETTINGS as settings
from .environment import SettingMissing
from .gates import GateClosed
from .running import running_activities

__all__ = ["GateClosed", "SettingMissing", "client", "running_activities", "settings", "worker"]
