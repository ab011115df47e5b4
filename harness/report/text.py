"""Text of a run as it may go into any report."""

from __future__ import annotations

from harness.masking import masked, printable


def clean(text: str) -> str:
    """The text without secrets and without characters that XML forbids."""
    return printable(masked(text))
