"""Worker settings of arq and SAQ, which are a class or a dict of the application and so do not show their system."""

from __future__ import annotations


def system_of(value: object) -> str | None:
    """The system whose worker settings a value is; None for anything else.

    A class with `functions` or `cron_jobs` is for arq. A dict with `functions` is for SAQ, or for arq if it names a
    Redis by `redis_settings` or `redis_pool`.
    """
    if isinstance(value, type):
        return None if vars(value).keys().isdisjoint({"functions", "cron_jobs"}) else "arq"
    if isinstance(value, dict) and "functions" in value:
        return "saq" if value.keys().isdisjoint({"redis_settings", "redis_pool"}) else "arq"
    return None
