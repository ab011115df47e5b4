"""`agentexec dlq`: tasks that the queue gave up."""

from __future__ import annotations

import argparse
import json
from typing import Any

from agentexec.cli import exits
from agentexec.cli.output import connected, no, table
from agentexec.errors import AgentexecError
from agentexec.producer.requeue import requeue
from agentexec.queue.dead_letters import DeadLetter, DeadLetters


def add_to(commands: Any) -> None:
    """Add the commands to the parser."""
    actions = commands.add_parser("dlq", help="look after dead letters").add_subparsers(
        required=True, metavar="ACTION"
    )
    listing = actions.add_parser("list", help="the latest dead letters with their reasons")
    listing.add_argument("--limit", type=int, default=50, help="how many (default %(default)d)")
    listing.add_argument("--json", action="store_true", help="print one JSON object per line")
    listing.set_defaults(run=_list)
    showing = actions.add_parser("show", help="one dead letter with its context")
    showing.add_argument("id")
    showing.set_defaults(run=_show)
    requeuing = actions.add_parser("requeue", help="run tasks again, each as a new activity")
    _which(requeuing)
    requeuing.set_defaults(run=_requeue)
    purge = actions.add_parser("purge", help="throw dead letters away; their activities stay in the record")
    _which(purge)
    purge.set_defaults(run=_purge)


def _which(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("ids", nargs="*", default=[], metavar="ID")
    which.add_argument("--all", action="store_true", help="all of the queue")


def _list(options: argparse.Namespace) -> int:
    with connected() as client:
        letters = DeadLetters(client.queue)
        page, total = letters.page(limit=max(1, options.limit)), letters.count()
    if options.json:
        for letter in page:
            print(json.dumps(_as_json(letter)))
        return exits.OK
    rows = [(letter.task_id, letter.task_name or "?", letter.died_at, letter.reason) for letter in page]
    print(table(("ID", "TASK", "DIED", "REASON"), rows))
    print(f"{len(page)} of {total}.")
    return exits.OK


def _show(options: argparse.Namespace) -> int:
    with connected() as client:
        letter = DeadLetters(client.queue).get(options.id)
    if letter is None:
        return no(f"There is no dead letter {options.id}; `agentexec dlq list` shows those there are.")
    print(json.dumps(_as_json(letter), indent=2))
    return exits.OK


def _requeue(options: argparse.Namespace) -> int:
    failed = 0
    with connected() as client:
        ids = [letter.task_id for letter in DeadLetters(client.queue).all()] if options.all else options.ids
        for task_id in ids:
            try:
                print(f"{task_id} runs again as {requeue(client, task_id)}")
            except AgentexecError as error:
                failed += 1
                no(str(error))
    return exits.DIFFERENT if failed else exits.OK


def _purge(options: argparse.Namespace) -> int:
    with connected() as client:
        letters = DeadLetters(client.queue)
        purged = letters.purge_all() if options.all else letters.purge(options.ids)
    print(f"Purged {purged} dead letter(s).")
    if not options.all and purged < len(set(options.ids)):
        return no(f"{len(set(options.ids)) - purged} of the ids are no dead letters.")
    return exits.OK


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    unreadable = None if letter.task_name is not None else letter.payload.decode("utf-8", "backslashreplace")
    return {
        "id": letter.task_id,
        "task": letter.task_name,
        "reason": letter.reason,
        "died_at": letter.died_at.isoformat(),
        "context": letter.context,
        **({} if unreadable is None else {"payload": unreadable}),
    }
