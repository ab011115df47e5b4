"""The workers of a Celery application under test: its own tasks, wrapped, on the Redis of the run.

`celery worker` imports this module. The addresses of the run come by Celery's own environment variables, which take
precedence over the code of the application.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import wraps
from typing import Any

from harness.targets import body
from harness.targets.application_reference import ENV_APPLICATION, own_application
from harness.targets.applications.base import imported
from harness.targets.applications.celery import ENV_CONFIGURATION
from harness.targets.wrapped_handler import LABEL, WrappedRun


def wrapped(celery: Any) -> Any:
    """The application with the configuration of the run; its tasks are wrapped once all of them are imported."""
    signals = imported("celery.signals")
    celery.conf.update(json.loads(os.environ[ENV_CONFIGURATION]))

    def wrap_tasks(**_: Any) -> None:
        for name, task in celery.tasks.items():
            if not name.startswith("celery."):
                task.ignore_result = False
                task.run = _wrapped_run(task)

    def say_hello(**_: Any) -> None:
        body.say_hello()

    signals.celeryd_init.connect(wrap_tasks, weak=False)
    signals.worker_process_init.connect(say_hello, weak=False)
    return celery


def _wrapped_run(task: Any) -> Callable[..., Any]:
    own = task.run

    @wraps(own)
    def run(*args: Any, **kwargs: Any) -> Any:
        request = task.request
        label = (request.get("headers") or {}).get(LABEL) or request.get(LABEL)
        recorded = WrappedRun.of(label, name=task.name, activity=str(request.id), attempt=request.retries + 1)
        return recorded.call(lambda: own(*args, **kwargs))

    return run


if ENV_APPLICATION in os.environ:
    application = wrapped(own_application())
