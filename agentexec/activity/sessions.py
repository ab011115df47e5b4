"""One way to answer code with a Session, code with an AsyncSession, and code with neither."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.orm import Session

from agentexec.producer.client import default_client

if TYPE_CHECKING:  # importing it needs greenlet, which only async users install
    from sqlalchemy.ext.asyncio import AsyncSession

T = TypeVar("T")


def with_session(session: Session | AsyncSession | None, work: Callable[[Session], T]) -> T | Awaitable[T]:
    """What `work` answers for a Session; an awaitable of it for an AsyncSession and for None.

    None means a session of `default_client()`, used in a thread so that the event loop goes on.
    """
    if session is None:
        return asyncio.to_thread(_in_own_session, work)
    if isinstance(session, Session):
        return work(session)
    return session.run_sync(work)


def _in_own_session(work: Callable[[Session], T]) -> T:
    with Session(default_client().engine) as session:
        return work(session)
