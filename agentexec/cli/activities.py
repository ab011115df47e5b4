"""`agentexec activities` and `agentexec cancel`: what the record says."""

from __future__ import annotations

import argparse
import json
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from agentexec.activity.lifecycle import cancel
from agentexec.activity.querying import MAX_PAGE_SIZE, detail, list_activities
from agentexec.activity.schemas import ActivityDetailSchema
from agentexec.cli import exits
from agentexec.cli.output import connected, no, table
from agentexec.store.status import Status


def add_to(commands: Any) -> None:
    """Add the commands to the parser."""
    activities = commands.add_parser("activities", help="look at activities, cancel one")
    actions = activities.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="one page of activities: running, queued, then what is over")
    listing.add_argument("--status", action="append", choices=[s.value for s in Status], help="only these")
    listing.add_argument("--page", type=_page, default=1, help="from 1 (default %(default)d)")
    listing.add_argument("--page-size", type=_size, default=50, help=f"1 to {MAX_PAGE_SIZE} (default 50)")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=_list)
    showing = actions.add_parser("show", help="one activity with its log")
    showing.add_argument("id", type=UUID)
    showing.add_argument("--json", action="store_true", help="print JSON")
    showing.set_defaults(run=_show)
    for canceling in (
        actions.add_parser("cancel", help="cancel one"),
        commands.add_parser("cancel", help="cancel a task"),
    ):
        canceling.add_argument("id", type=UUID)
        canceling.set_defaults(run=_cancel)


def _list(options: argparse.Namespace) -> int:
    with connected() as client, Session(client.engine) as session:
        page = list_activities(session, options.page, options.page_size, status=options.status)
    if options.json:
        print(page.model_dump_json(indent=2))
        return exits.OK
    rows = [
        (
            item.agent_id,
            item.agent_type,
            item.status,
            item.started_at,
            item.percentage,
            item.latest_log_message,
        )
        for item in page.items
    ]
    print(table(("ID", "TASK", "STATUS", "ENQUEUED", "%", "LAST MESSAGE"), rows))
    more = "" if page.total_is_exact else " or more"
    print(f"Page {page.page} of {page.total_pages}{more}, {page.total}{more} in all.")
    return exits.OK


def _show(options: argparse.Namespace) -> int:
    with connected() as client, Session(client.engine) as session:
        found = detail(session, options.id)
    if found is None:
        return no(f"No activity {options.id} is recorded; `agentexec activities list` shows those there are.")
    print(found.model_dump_json(indent=2) if options.json else _described(found))
    return exits.OK


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


def _cancel(options: argparse.Namespace) -> int:
    with connected() as client:
        asked = cancel(options.id, client=client)
        with Session(client.engine) as session:
            now = detail(session, options.id)
    if now is None:
        return no(f"No activity {options.id} is recorded.")
    if not asked:
        return no(f"Activity {options.id} is over already: {now.status}.")
    print("Canceled." if now.status is Status.CANCELED else "It is running; its handler is asked to stop.")
    return exits.OK


def _page(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("pages count from 1")
    return int(text)


def _size(text: str) -> int:
    if not 1 <= int(text) <= MAX_PAGE_SIZE:
        raise argparse.ArgumentTypeError(f"a page has 1 to {MAX_PAGE_SIZE} activities, not {text}")
    return int(text)
