"""The groups of the doctor's checks."""

from __future__ import annotations

from enum import StrEnum


class Area(StrEnum):
    """The group of a check in the output."""

    POSTGRES = "Postgres"
    TABLES = "Tables"
    REDIS = "Redis"
    SETTINGS = "Settings"
    MACHINE = "This machine"
    TASKS = "Tasks and workers"
    HTTP = "API and metrics"
    FILES = "Files"
