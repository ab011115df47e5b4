"""All mistakes, in the order in which they are made."""

from __future__ import annotations

from tests.mistakes import of_files, of_postgres, of_redis, of_settings, of_tasks

ON_SERVERS = (*of_postgres.MISTAKES, *of_redis.MISTAKES, *of_tasks.MISTAKES, *of_settings.MISTAKES)
MISTAKES = (*ON_SERVERS, *of_files.MISTAKES)
