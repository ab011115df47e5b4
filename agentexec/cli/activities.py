"""`agentexec activities` and `agentexec cancel`."""

from __future__ import annotations

import argparse
import json
from uuid import UUID

from sqlalchemy.orm import Session

from agentexec.activity.lifecycle import cancel
from agentexec.activity.querying import MAX_PAGE_SIZE, detail, list_activities
from agentexec.activity.schemas import ActivityDetailSchema
from agentexec.cli.parsing import JSON, MANY, NegativeResult, argument, command, number, table
from agentexec.producer.client import Client
from agentexec.store.status import Status

ID = argument("id", type=UUID)


@command(
    "activities list",
    argument("--status", action="append", choices=[s.value for s in Status], help="only these"),
    argument("--page", type=number(int, 1, MANY), default=1, help="from 1 (default %(default)d)"),
    argument("--page-size", type=number(int, 1, MAX_PAGE_SIZE), default=50, help="up to 1000 (default 50)"),
    JSON,
)
def _list(options: argparse.Namespace) -> None:
    """One page of activities: running, queued, then terminal ones."""
    with Client() as client, Session(client.engine) as session:
        page = list_activities(session, options.page, options.page_size, status=options.status)
    page.mask_secrets()
    if options.json:
        print(page.model_dump_json(indent=2))
        return
    rows = [
        (i.agent_id, i.agent_type, i.status, i.started_at, i.percentage, i.latest_log_message)
        for i in page.items
    ]
    print(table(("ID", "TASK", "STATUS", "ENQUEUED", "%", "LAST MESSAGE"), rows))
    more = "" if page.total_is_exact else " or more"
    print(f"Page {page.page} of {page.total_pages}{more}, {page.total}{more} in all.")


@command("activities show", ID, JSON)
def _show(options: argparse.Namespace) -> None:
    """One activity with its log."""
    with Client() as client, Session(client.engine) as session:
        found = detail(session, options.id)
    if found is None:
        raise NegativeResult(f"No activity {options.id} is recorded; `agentexec activities list` shows all.")
    found.mask_secrets()
    print(found.model_dump_json(indent=2) if options.json else _described(found))


def _described(activity: ActivityDetailSchema) -> str:
    facts = {
        "id": activity.agent_id,
        "task": activity.agent_type,
        "status": activity.status,
        "attempt": activity.attempt,
        "enqueued": activity.created_at,
        "changed": activity.updated_at,
        "error": activity.error,
        "result": None if activity.result is None else json.dumps(activity.result),
    }
    lines = [f"{name:9} {value}" for name, value in facts.items() if value is not None]
    log = [(e.fence, e.n, e.created_at, e.status, e.percentage, e.message) for e in activity.logs]
    return "\n".join([*lines, "", table(("FENCE", "N", "TIME", "STATUS", "%", "MESSAGE"), log)])


@command("activities cancel", ID)
@command("cancel", ID)
def _cancel(options: argparse.Namespace) -> None:
    """Cancel an activity."""
    with Client() as client:
        was_pending = cancel(options.id, client=client)
        with Session(client.engine) as session:
            now = detail(session, options.id)
    if now is None:
        raise NegativeResult(f"No activity {options.id} is recorded.")
    if not was_pending:
        raise NegativeResult(f"Activity {options.id} is over already: {now.status}.")
    print("Canceled." if now.status is Status.CANCELED else "It is running; its handler is asked to stop.")
