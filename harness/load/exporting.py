"""A trace of one's own arrivals, from the activities of a queue: times, task names and sizes, and no content."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TextIO

from sqlalchemy import Text, cast, func, select

from agentexec.activity import Activity
from harness.errors import TargetFailed, describe_error
from harness.load.producing import EXPECTED, RUN_KEY
from harness.load.target import LoadTarget
from harness.load.traces import write_trace

_PAGE = 1000


def export_trace(target: LoadTarget, queue: str, file: TextIO, *, hours: float) -> int:
    """Write the arrivals of the last `hours` in the order of their times; returns how many. Raises `TargetFailed`.

    The size is the number of bytes of a context. Tasks of load runs are left out.
    """
    query = (
        select(Activity.created_at, Activity.agent_type, func.octet_length(cast(Activity.context, Text)))
        .where(
            Activity.queue_name == queue,
            Activity.created_at >= datetime.now(UTC) - timedelta(hours=hours),
            Activity.metadata_[RUN_KEY].as_string().is_(None),
        )
        .order_by(Activity.created_at)
        .execution_options(yield_per=_PAGE)
    )
    with target.client(queue) as client:
        try:
            with client.engine.connect() as connection:
                return write_trace(((row[0], row[1], row[2]) for row in connection.execute(query)), file)
        except EXPECTED as error:
            raise TargetFailed(
                f"The activities cannot be read: {describe_error(error)}. Check that agentexec's tables are there."
            ) from None
