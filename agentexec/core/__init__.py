"""Connections to Postgres and Redis, under the import paths of the production guide."""

from __future__ import annotations

__all__: list[str] = []
