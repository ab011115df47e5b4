"""`agentexec.activity.list`, `detail` and `count_active`: how services read activities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from agentexec.activity.schemas import ActivityDetailSchema, ActivityListItemSchema, ActivityListSchema
from agentexec.compat.sessions import with_any_session
from agentexec.errors import require, require_metadata
from agentexec.identifiers import parse_id
from agentexec.store.models import Activity, ActivityLog, in_status
from agentexec.store.status import PENDING, TERMINAL, Status

MAX_PAGE_SIZE = 1000
# Activities of each part that a page counts for its total, so that no page reads a million rows.
COUNTED = 10_000
# The parts of a page in their order. Each is a query of its own, newest activity first, so that an index serves it.
PARTS = ((Status.RUNNING,), (Status.QUEUED,), tuple(sorted(TERMINAL)))

StatusFilter = Status | str | Iterable[Status | str] | None
MetadataFilter = Mapping[str, Any] | None
Conditions = Iterable[sa.ColumnElement[bool]]


@with_any_session
def list_activities(
    session: Session,
    page: int = 1,
    page_size: int = 50,
    metadata_filter: MetadataFilter = None,
    *,
    status: StatusFilter = None,
) -> ActivityListSchema:
    """One page of activities, counted from 1: running ones, then queued ones, then terminal ones.

    `status` is one status or several; `metadata_filter` maps top-level fields of the metadata to their values.
    `total` is exact up to 10,000 running, queued and terminal activities each. Beyond that it is a lower bound, at
    least one more page, and `total_is_exact` is False.
    Raises ValueError for a page or size below 1, a size above 1000, or an unknown status.
    """
    require(page, int, "page is a whole number", "count from 1")
    require(page_size, int, "page_size is a whole number", f"give one from 1 to {MAX_PAGE_SIZE}")
    if page < 1 or not 1 <= page_size <= MAX_PAGE_SIZE:
        raise ValueError(f"page counts from 1, page_size is 1 to {MAX_PAGE_SIZE}, not {page} and {page_size}")
    wanted, conditions = _statuses(status), _matching(metadata_filter)
    skip, items, total, exact = (page - 1) * page_size, list[ActivityListItemSchema](), 0, True
    limit = max(COUNTED, page * page_size + 1)
    for part in PARTS:
        statuses = [status for status in part if status in wanted]
        count = _count(session, statuses, conditions, limit) if statuses else 0
        total, exact = total + count, exact and count < limit
        if skip < count and len(items) < page_size:
            size = page_size - len(items)
            # A few queued ones may be older than millions of others, so all of them are read and sorted.
            few = part == (Status.QUEUED,) and count < limit
            found = _found(statuses, conditions, count if few else skip + size, newest=not few)
            rows = session.execute(_summaries(found, skip=skip, limit=size))
            items += map(ActivityListItemSchema.model_validate, rows)
        skip = max(0, skip - count)
    return ActivityListSchema(items=items, total=total, total_is_exact=exact, page=page, page_size=page_size)


@with_any_session
def detail(
    session: Session, agent_id: str | UUID | None = None, metadata_filter: MetadataFilter = None
) -> ActivityDetailSchema | None:
    """One activity with its log; None if there is none, or its metadata does not match `metadata_filter`.

    Raises ValueError for text that is not a UUID.
    """
    wanted = None if agent_id is None else parse_id(agent_id)
    query = sa.select(Activity).options(selectinload(Activity.logs))
    query = query.where(Activity.agent_id == wanted, *_matching(metadata_filter))
    found = session.execute(query.execution_options(populate_existing=True)).scalar_one_or_none()
    return None if found is None else ActivityDetailSchema.model_validate(found)


@with_any_session
def count_active(session: Session) -> int:
    """The number of queued and running activities of all queues."""
    return session.scalar(sa.select(sa.func.count()).select_from(Activity).where(in_status(PENDING))) or 0


def _matching(metadata_filter: MetadataFilter) -> tuple[sa.ColumnElement[bool], ...]:
    """Conditions for these values in the metadata; a number matches the same number and its text."""
    require_metadata(metadata_filter, "a filter")
    return tuple(_equals(key, value) for key, value in (metadata_filter or {}).items())


def _equals(key: str, value: Any) -> sa.ColumnElement[bool]:
    element: Any = Activity.metadata_[key]
    if isinstance(value, bool):
        return cast(sa.ColumnElement[bool], element.as_boolean() == value)
    return cast(sa.ColumnElement[bool], element.as_string() == (None if value is None else str(value)))


def _statuses(status: StatusFilter) -> frozenset[Status]:
    status = Status if status is None else status
    require(status, (str, Iterable), "status is one status or several", "pass a Status or its name")
    return frozenset({Status(status)} if isinstance(status, str) else map(Status, status))


def _count(session: Session, statuses: Iterable[Status], conditions: Conditions, limit: int) -> int:
    """The number of such activities, counted up to `limit`."""
    found = sa.select(_found(statuses, conditions, limit, newest=False)).limit(limit).subquery()
    return session.scalar(sa.select(sa.func.count()).select_from(found)) or 0


def _found(statuses: Iterable[Status], conditions: Conditions, limit: int, *, newest: bool) -> sa.Subquery:
    """The ids of up to `limit` activities of each status, the newest ones or those that are found fastest.

    Each is in the order of an index. Otherwise the planner reads the table or all ids, with a million others in front.
    """
    ids = []
    for status in statuses:
        query = sa.select(Activity.id).where(*conditions).limit(limit)
        if status is not Status.QUEUED:
            # A range of rows, although of one status: for an equal status, other indexes seem to have the order, too,
            # and without statistics, a range of the status alone seems to be so few rows that all are sorted.
            same = sa.literal(status, Activity.status.type, literal_execute=True)
            first, last = (sa.tuple_(same, UUID(int=end)) for end in (0, 2**128 - 1))
            rows = sa.tuple_(Activity.status, Activity.id).between(first, last)
            query = query.where(rows, ~in_status({Status.QUEUED}))  # which is the condition of the index
            query = query.order_by(Activity.status.desc(), Activity.id.desc())
        elif newest:  # of many: without statistics, the planner takes one status for rare
            query = query.where(~in_status(set(Status) - {status})).order_by(Activity.id.desc())
        else:
            query = query.where(in_status({status})).order_by(Activity.queue_name, Activity.id)
        ids.append(query.subquery())
    return sa.union_all(*map(sa.select, ids)).subquery()


def _summaries(found: sa.Subquery, *, skip: int, limit: int) -> sa.Select[Any]:
    named = (Activity.created_at.label("started_at"), Activity.metadata_.label("metadata"))
    columns = (Activity.id, Activity.agent_id, Activity.agent_type, Activity.status, *named)
    at = sa.select(found).order_by(found.c.id.desc()).offset(skip).limit(limit).subquery()
    page = sa.select(*columns).join(at, at.c.id == Activity.id).subquery()
    # Outside the page's own query, so that skipped rows cost no access to the log.
    last = (
        sa.select(ActivityLog)
        .where(ActivityLog.activity_id == page.c.id)
        .order_by(ActivityLog.fence.desc(), ActivityLog.n.desc())
        .limit(1)
    )
    return sa.select(
        page,
        last.with_only_columns(ActivityLog.message).scalar_subquery().label("latest_log_message"),
        last.with_only_columns(ActivityLog.created_at).scalar_subquery().label("latest_log_timestamp"),
        last.with_only_columns(ActivityLog.percentage).scalar_subquery().label("percentage"),
    ).order_by(page.c.id.desc())
