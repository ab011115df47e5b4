"""Functions that read the activity store, callable with each kind of session.

A call with a `Session` returns the result. A call with an `AsyncSession`, or without a session, returns an awaitable
of it, as in agentexec 0.3.0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

from sqlalchemy.orm import Session

from agentexec.errors import require
from agentexec.producer.client import default_client

if TYPE_CHECKING:  # its import needs greenlet, which only async users install
    from sqlalchemy.ext.asyncio import AsyncSession

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SessionFunction(Protocol[P, T_co]):
    """A function whose first argument is a session of either kind, or None."""

    @overload
    def __call__(self, session: Session, *args: P.args, **kwargs: P.kwargs) -> T_co: ...
    @overload
    def __call__(
        self, session: AsyncSession | None = None, *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[T_co]: ...


def with_any_session(function: Callable[Concatenate[Session, P], T]) -> SessionFunction[P, T]:
    """Decorate a function that needs a `Session`; without a session it gets one of `default_client()`, in a thread."""

    @wraps(function)
    def call(
        session: Session | AsyncSession | None = None, *args: P.args, **kwargs: P.kwargs
    ) -> T | Awaitable[T]:
        def work(session: Session) -> T:
            return function(session, *args, **kwargs)

        if session is None:
            return asyncio.to_thread(_in_own_session, work)
        if isinstance(session, Session):
            return work(session)
        if not hasattr(session, "run_sync"):
            what = f"The first argument of {function.__name__} is a Session or an AsyncSession"
            require(session, Session, what, "name the others, as in `agent_id=...`")
        return session.run_sync(work)

    return cast("SessionFunction[P, T]", call)


def _in_own_session(work: Callable[[Session], T]) -> T:
    with Session(default_client().engine) as session:
        return work(session)
