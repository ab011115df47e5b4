"""The settings of agentexec 0.3.0, which reads them when it is imported. Import this module before it."""

import os

from harness_worker import settings

os.environ.update(
    AGENTEXEC_QUEUE_PREFIX=f"{settings.queue}:tasks",
    AGENTEXEC_KEY_PREFIX=settings.queue,
    AGENTEXEC_REDIS_URL=settings.redis_url,
)
