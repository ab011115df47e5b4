"""Random draws that a seed decides, so that a schedule or a load is the same again. They keep no secret."""

from __future__ import annotations

from random import Random


def seeded(*parts: object) -> Random:
    """Draws that these parts decide alone."""
    return Random("/".join(map(str, parts)))  # noqa: S311 - for repeatable runs, never for a secret
