"""Delta debugging: the fewest members of a failing whole that still fail.

After "Simplifying and Isolating Failure-Inducing Input", Zeller and Hildebrandt, IEEE Transactions on Software
Engineering 28(2), 2002.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def cut(members: Sequence[T], still_fails: Callable[[Sequence[T]], bool]) -> tuple[T, ...]:
    """What is left once no piece can be removed, in ever smaller pieces; greedy, in the order of the members."""
    left = tuple(members)
    size = len(left)
    while size >= 1:
        start = 0
        while start < len(left):
            kept = (*left[:start], *left[start + size :])
            if still_fails(kept):
                left = kept
            else:
                start += size
        size //= 2
    return left
