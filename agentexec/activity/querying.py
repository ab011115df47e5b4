"""`agentexec.activity.list`, `detail` and `count_active`: the record as services read it.

Each answers at once for a `Session`, and is awaited for an `AsyncSession` or for none at all, as in agentexec 0.3.0.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, overload
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session, selectinload

from agentexec.activity.schemas import ActivityDetailSchema, ActivityListItemSchema, ActivityListSchema
from agentexec.activity.sessions import with_session
from agentexec.store.models import Activity, ActivityLog
from agentexec.store.status import PENDING, TERMINAL, Status

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

MAX_PAGE_SIZE = 1000
COUNTED = (
    10_000  # activities of each part that a page counts for its total: a look must not read a million rows
)
# Pages show what runs, then what waits, then what is over; the newest first in each. Every part has an index.
PARTS = ((Status.RUNNING,), (Status.QUEUED,), tuple(sorted(TERMINAL)))

StatusFilter = Status | str | Iterable[Status | str] | None
MetadataFilter = Mapping[str, Any] | None


@overload
def list_activities(
    session: Session,
    page: int = ...,
    page_size: int = ...,
    metadata_filter: MetadataFilter = ...,
    *,
    status: StatusFilter = ...,
) -> ActivityListSchema: ...
@overload
def list_activities(
    session: AsyncSession | None = ...,
    page: int = ...,
    page_size: int = ...,
    metadata_filter: MetadataFilter = ...,
    *,
    status: StatusFilter = ...,
) -> Awaitable[ActivityListSchema]: ...
def list_activities(
    session: Session | AsyncSession | None = None,
    page: int = 1,
    page_size: int = 50,
    metadata_filter: MetadataFilter = None,
    *,
    status: StatusFilter = None,
) -> ActivityListSchema | Awaitable[ActivityListSchema]:
    """One page of activities, pages counting from 1: running ones, then queued ones, then those that are over.

    `status` is one status or several; `metadata_filter` names top-level fields of the metadata and their values.
    `total` is exact up to 10,000 running, queued and finished ones each; where there are more it says how many there
    are at least, always enough for one more page, and `total_is_exact` is False.
    Raises ValueError for a page or size below 1, a size above 1000, or an unknown status.
    """
    if page < 1 or not 1 <= page_size <= MAX_PAGE_SIZE:
        raise ValueError(
            f"page counts from 1 and page_size is 1 to {MAX_PAGE_SIZE}, not {page} and {page_size}"
        )
    wanted = _statuses(status)
    return with_session(session, lambda s: _page(s, page, page_size, wanted, metadata_filter))


@overload
def detail(
    session: Session, agent_id: str | UUID | None = ..., metadata_filter: MetadataFilter = ...
) -> ActivityDetailSchema | None: ...
@overload
def detail(
    session: AsyncSession | None = ...,
    agent_id: str | UUID | None = ...,
    metadata_filter: MetadataFilter = ...,
) -> Awaitable[ActivityDetailSchema | None]: ...
def detail(
    session: Session | AsyncSession | None = None,
    agent_id: str | UUID | None = None,
    metadata_filter: MetadataFilter = None,
) -> ActivityDetailSchema | Awaitable[ActivityDetailSchema | None] | None:
    """One activity with its log; None where there is none, or its metadata is not as `metadata_filter` says.

    Raises ValueError for text that is not an id.
    """
    wanted = UUID(agent_id) if isinstance(agent_id, str) else agent_id
    return with_session(session, lambda s: _detail(s, wanted, metadata_filter))


@overload
def count_active(session: Session) -> int: ...
@overload
def count_active(session: AsyncSession | None = ...) -> Awaitable[int]: ...
def count_active(session: Session | AsyncSession | None = None) -> int | Awaitable[int]:
    """How many activities are queued or running, in all queues."""
    query = select(func.count()).select_from(Activity).where(Activity.status.in_(PENDING))
    return with_session(session, lambda s: int(s.execute(query).scalar_one()))


def matching(metadata_filter: MetadataFilter) -> tuple[ColumnElement[bool], ...]:
    """Conditions that hold for activities whose metadata has these values; a number or a text matches itself and
    its text.
    """
    return tuple(_equals(key, value) for key, value in (metadata_filter or {}).items())


def _equals(key: str, value: Any) -> ColumnElement[bool]:
    element = Activity.metadata_[key]
    equal: ColumnElement[bool]
    if value is None:
        equal = element.as_string().is_(None)
    elif isinstance(value, bool):
        equal = element.as_boolean() == value
    else:
        equal = element.as_string() == str(value)
    return equal


def _statuses(status: StatusFilter) -> frozenset[Status]:
    if status is None:
        return frozenset(Status)
    return frozenset({Status(status)} if isinstance(status, str) else map(Status, status))


def _page(
    session: Session, page: int, size: int, wanted: frozenset[Status], metadata_filter: MetadataFilter
) -> ActivityListSchema:
    conditions = matching(metadata_filter)
    skip, items, total, exact = (page - 1) * size, list[ActivityListItemSchema](), 0, True
    enough = max(COUNTED, page * size + 1)
    for part in PARTS:
        statuses = [status for status in part if status in wanted]
        there = _count(session, statuses, conditions, enough) if statuses else 0
        total, exact = total + there, exact and there < enough
        if skip < there and len(items) < size:
            query = _summaries(statuses, conditions, skip=skip, limit=size - len(items))
            items += [ActivityListItemSchema.model_validate(row) for row in session.execute(query)]
        skip = max(0, skip - there)
    return ActivityListSchema(items=items, total=total, total_is_exact=exact, page=page, page_size=size)


def _count(
    session: Session, statuses: Iterable[Status], conditions: Iterable[ColumnElement[bool]], enough: int
) -> int:
    """How many there are, counted no further than to `enough`."""
    found = select(Activity.id).where(Activity.status.in_(statuses), *conditions).limit(enough).subquery()
    return int(session.execute(select(func.count()).select_from(found)).scalar_one())


def _summaries(
    statuses: Iterable[Status], conditions: Iterable[ColumnElement[bool]], *, skip: int, limit: int
) -> Select[Any]:
    columns = (Activity.id, Activity.agent_id, Activity.agent_type, Activity.status, Activity.created_at)
    page = (
        select(*columns, Activity.metadata_.label("metadata"))
        .where(Activity.status.in_(statuses), *conditions)
        .order_by(Activity.id.desc())
        .offset(skip)
        .limit(limit)
        .subquery()
    )
    # Outside of the page's own query, so that skipped rows cost no look into the log.
    last = (
        select(ActivityLog)
        .where(ActivityLog.activity_id == page.c.id)
        .order_by(ActivityLog.fence.desc(), ActivityLog.n.desc())
        .limit(1)
    )
    return select(
        page.c.agent_id,
        page.c.agent_type,
        page.c.status,
        page.c.created_at.label("started_at"),
        page.c.metadata,
        last.with_only_columns(ActivityLog.message).scalar_subquery().label("latest_log_message"),
        last.with_only_columns(ActivityLog.created_at).scalar_subquery().label("latest_log_timestamp"),
        last.with_only_columns(ActivityLog.percentage).scalar_subquery().label("percentage"),
    ).order_by(page.c.id.desc())


def _detail(
    session: Session, agent_id: UUID | None, metadata_filter: MetadataFilter
) -> ActivityDetailSchema | None:
    query = select(Activity).options(selectinload(Activity.logs))
    query = query.where(Activity.agent_id == agent_id, *matching(metadata_filter))
    found = session.execute(query.execution_options(populate_existing=True)).scalar_one_or_none()
    return None if found is None else ActivityDetailSchema.model_validate(found)
