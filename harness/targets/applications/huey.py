"""An application of huey as a target: its own tasks and storage options, on the Redis of a run or in its folder.

The name of the storage begins with that of the run's queue. The workers note how tasks end, because huey keeps no
result of a task that returns None.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.environments.base import Endpoints
from harness.errors import TargetFailed, UsageError
from harness.history.promises import Loss, Promises, SigtermPromise
from harness.kit.harness_worker import running_activities
from harness.targets.applications.base import (
    OUTSIDE,
    OwnApplication,
    OwnSession,
    class_of,
    imported,
    shipped_promises,
)
from harness.targets.applications.message import Make, TaskMessage, message_of
from harness.targets.applications.redis_database import repoint
from harness.targets.base import TargetSettings
from harness.targets.wrapped_handler import LABEL, TaskLabel, label_of_child

LABEL_ATTRIBUTE = "harness_label"
"""The attribute of a task with its label; in its message, the label is among the keyword arguments."""

_FORMS = (
    "a task such as refund.s(order), (task, args) or (task, args, options), where args are a list or a dict"
)
_HUEY, _TASK, _WRAPPER, _STORAGE = (
    *("huey.api:Huey", "huey.api:Task", "huey.api:TaskWrapper"),
    "huey.storage:RedisStorage",
)
_FILES = {"huey.storage:SqliteStorage": ("filename", "huey.db"), "huey.storage:FileStorage": ("path", "huey")}
"""The storages in files: the option that names their file or folder, and what is in its place in a run."""
_NOT_IN_FILES = frozenset({Loss.BROKER_RESTARTED, Loss.BROKER_EMPTIED, Loss.BROKER_FROZEN, Loss.REPLY_LOST})
ENV_FOLDER = "HARNESS_HUEY_FOLDER"
"""The environment variable with the folder of a run, for storages in files."""


def storage_of(huey: Any) -> str | None:
    """The kind of storage that a Huey has, as `module:Class`; None for one that cannot be put on a run.

    The storage of an immediate Huey is another one.
    """
    kinds = (f"{kind.__module__}:{kind.__qualname__}" for kind in getattr(huey.storage_class, "__mro__", ()))
    return next((kind for kind in kinds if kind in (_STORAGE, *_FILES)), None)


def put_on(huey: Any, *, url: str, queue: str, folder: Path) -> None:
    """Let a Huey use the Redis or the folder of a run, and its prefix, with the options that its storage has."""
    huey.name = f"{queue}.{huey.name}"
    # With this option, a storage connects as soon as it is made.
    options = {name: one for name, one in huey.storage_kwargs.items() if name != "client_name"}
    kind = storage_of(huey)
    if kind in _FILES:
        option, name = _FILES[kind]
        options[option] = str(folder / name)
    huey.storage_kwargs = options
    huey.immediate = False
    huey.storage = huey.create_storage()
    if kind == _STORAGE:
        repoint(huey.storage.pool, url)
    _carry_labels(huey)


def _carry_labels(huey: Any) -> None:
    """Let messages of a Huey carry the labels of their tasks."""
    serialize, deserialize = huey.serialize_task, huey.deserialize_task

    def serialize_task(task: Any) -> Any:
        label = getattr(task, LABEL_ATTRIBUTE, None) or label_of_child()
        if label is None:
            return serialize(task)
        own = task.kwargs
        task.kwargs = {**own, LABEL: label}
        try:
            return serialize(task)
        finally:
            task.kwargs = own

    def deserialize_task(data: Any) -> Any:
        task = deserialize(data)
        setattr(task, LABEL_ATTRIBUTE, task.kwargs.pop(LABEL, None))
        return task

    huey.serialize_task, huey.deserialize_task = serialize_task, deserialize_task


def note_end(huey: Any, activity: str, status: str) -> None:
    """Note how a task ended, where its storage is."""
    if storage_of(huey) == _STORAGE:
        huey.storage.conn.hset(_ended_key(huey), activity, status)
    else:
        huey.storage.put_data(_ended_key(huey) + activity, status.encode())


def noted_ends(huey: Any, activities: Iterable[str]) -> dict[str, str]:
    """How tasks ended that have a note: these, and on Redis all of the run."""
    if storage_of(huey) == _STORAGE:
        noted = huey.storage.conn.hgetall(_ended_key(huey))
        return {activity.decode(): status.decode() for activity, status in noted.items()}
    found = {activity: huey.storage.peek_data(_ended_key(huey) + activity) for activity in activities}
    return {
        activity: bytes(status).decode()
        for activity, status in found.items()
        if isinstance(status, bytes | memoryview)
    }


def _ended_key(huey: Any) -> str:
    return f"huey.harness-ended.{huey.storage.name}"


def own_form(made: Any) -> TaskMessage | None:
    """The message of a task of huey; None for anything else."""
    return TaskMessage(name=made) if class_of(made, _TASK) else None


@dataclass(frozen=True, kw_only=True)
class HueyApplication(OwnApplication):
    """A Huey on Redis, SQLite or files whose tasks `make` makes."""

    distribution = "huey"
    classes = (_HUEY,)
    takes = "a Huey"

    @classmethod
    def wrap(cls, value: Any, *, make: Make, reference: Any, work: float | None) -> HueyApplication:
        found = super().wrap(value, make=make, reference=reference, work=work)
        if storage_of(value) is None:
            name = getattr(value.storage_class, "__name__", "another storage")
            raise UsageError(
                f"app() takes a Huey on Redis, SQLite or files, not on {name}. Pass a RedisHuey."
            )
        return found

    @property
    def gives_back(self) -> bool:
        """Whether the application has a receiver of SIGNAL_INTERRUPTED, which enqueues an interrupted task again."""
        receivers = self.own._signal.receivers
        return bool(receivers.get("interrupted") or receivers["any"])

    def promises(self, settings: TargetSettings) -> Promises:
        """What huey promises: a worker removes a task when it takes it.

        Without a time-out for SIGTERM, which is huey's default, the running tasks end. With one, those that are
        interrupted stay if the application gives them back.
        """
        del settings
        late = {Loss.SIGTERM_LATE} if self.gives_back else set()
        apart = frozenset() if storage_of(self.own) == _STORAGE else _NOT_IN_FILES
        return replace(
            shipped_promises("huey"),
            survives=frozenset({*OUTSIDE, Loss.SIGTERM, *late, *apart}),
            sigterm=SigtermPromise.RELEASES if self.gives_back else SigtermPromise.DRAINS,
            queue=False,
        )

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> HueySession:
        return HueySession(self, endpoints, settings)


class HueySession(OwnSession):
    """The consumer of a huey application, and a copy of its Huey that sends its tasks."""

    def __init__(self, application: HueyApplication, endpoints: Endpoints, settings: TargetSettings) -> None:
        super().__init__(application, endpoints, settings)
        self._gives_back = application.gives_back
        own = application.own
        if class_of(own.storage, _STORAGE):
            # So that nothing reaches a server of the user.
            repoint(own.storage.pool, endpoints.redis_url)
        self._huey = copy.copy(own)
        put_on(self._huey, url=endpoints.redis_url, queue=settings.queue, folder=settings.folder)

    def command(self, pool: str) -> list[str]:
        del pool
        settings = self.settings
        timeout = ("--shutdown-timeout", str(settings.graceful_shutdown)) if self._gives_back else ()
        # Workers poll a file, by default every 10 s once they were idle; a gate does not wait for so long.
        poll = () if storage_of(self._huey) == _STORAGE else ("--max-delay", "1")
        return [
            *(
                sys.executable,
                "-m",
                "huey.bin.huey_consumer",
                "harness.targets.applications.huey_worker.huey",
            ),
            *("--worker-type", "process", "--workers", str(settings.workers)),
            *("--health-check-interval", "1", "--graceful-signal", "TERM", *timeout, *poll),
        ]

    def variables(self) -> dict[str, str]:
        return {ENV_FOLDER: str(self.settings.folder)}

    def message(self, number: int) -> TaskMessage:
        make = self.application.make
        return message_of(make, number, forms=_FORMS, name_of=self._class_of, own_form=own_form)

    def send(self, message: TaskMessage, label: TaskLabel) -> str:
        if own_form(message.name):
            task = copy.copy(message.name)
        else:
            options = {"id": self.activity(label.number), **message.options}
            eta, delay = options.pop("eta", None), options.pop("delay", None)
            if eta is not None or delay is not None:
                options["eta"] = imported("huey.utils").normalize_time(eta, delay, self._huey.utc)
            task = message.name(message.args, dict(message.kwargs), **options)
        activity = str(task.id)
        if activity in self.submitted:
            raise TargetFailed(
                f"make({label.number}) gives the id of task {self.submitted[activity]} again. Make a task each time."
            )
        setattr(task, LABEL_ATTRIBUTE, label.to_value())
        self._huey.enqueue(task)
        return activity

    def statuses(self) -> Mapping[str, str]:
        # A task that is taken or comes back between two looks is in one of them.
        waiting = self._waiting()
        running = running_activities(str(self.settings.history))
        waiting |= self._waiting()
        return {
            **dict.fromkeys(running, "running"),
            **dict.fromkeys(waiting, "queued"),
            **noted_ends(self._huey, list(self.submitted)),
        }

    def remove(self) -> None:
        if storage_of(self._huey) != _STORAGE:
            self._huey.storage.close()  # its files are removed with the folder
            return
        redis = self._huey.storage.conn
        for key in redis.scan_iter(f"huey.*{self._huey.storage.name}*", count=1000):
            redis.delete(key)
        redis.close()

    def _waiting(self) -> set[str]:
        return {str(one.id) for one in (*self._huey.scheduled(), *self._huey.pending())}

    def _class_of(self, task: Any) -> Any:
        """The class of a task of the application, by its decorated function or its name; None for anything else."""
        if class_of(task, _WRAPPER):
            return task.task_class
        known = self._huey._registry._registry if isinstance(task, str) else {}
        return next((one for name, one in known.items() if f".{name}".endswith(f".{task}")), None)
