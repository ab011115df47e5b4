"""`agentexec dlq`: dead letters; `agentexec queue`: the queue as a whole."""

from __future__ import annotations

import argparse
import json
from typing import Any

from agentexec.cli.parsing import MANY, NegativeResult, argument, command, number, print_error, table
from agentexec.errors import AgentexecError
from agentexec.masking import masked
from agentexec.producer.client import Client
from agentexec.producer.requeue import requeue
from agentexec.queue.dead_letters import DeadLetter, DeadLetters
from agentexec.queue.ownership import adopt_queue, store_name

IDS = argument("ids", nargs="*", default=[], metavar="ID")
ALL = argument("--all", action="store_true", help="all of the queue")


@command(
    "dlq list",
    argument("--limit", type=number(int, 1, MANY), default=50, help="how many (default %(default)d)"),
    argument("--json", action="store_true", help="print one JSON object per line"),
)
def _list(options: argparse.Namespace) -> None:
    """The latest dead letters with their reasons."""
    with Client() as client:
        letters = DeadLetters(client.queue, client.engine)
        page, total = letters.page(limit=options.limit), letters.count()
    if options.json:
        for letter in page:
            print(json.dumps(_as_json(letter)))
        return
    rows = [(letter.task_id, letter.task_name or "?", letter.died_at, letter.reason) for letter in page]
    print(table(("ID", "TASK", "DIED", "REASON"), rows))
    print(f"{len(page)} of {total}.")


@command("dlq show", argument("id"))
def _show(options: argparse.Namespace) -> None:
    """One dead letter with its context."""
    with Client() as client:
        letter = DeadLetters(client.queue, client.engine).get(options.id)
    if letter is None:
        raise NegativeResult(f"There is no dead letter {options.id}; `agentexec dlq list` shows all.")
    print(json.dumps(_as_json(letter), indent=2))


@command("dlq requeue", IDS, ALL, exclusive=True)
def _requeue(options: argparse.Namespace) -> int:
    """Run tasks again, each as a new activity."""
    code = 0
    with Client() as client:
        letters = DeadLetters(client.queue, client.engine)
        ids = [letter.task_id for letter in letters.all()] if options.all else options.ids
        for task_id in ids:
            try:
                print(f"{task_id} runs again as {requeue(client, task_id)}")
            except AgentexecError as error:
                print_error(str(error))
                code = 1  # an id is unknown
    return code


@command("dlq purge", IDS, ALL, exclusive=True)
def _purge(options: argparse.Namespace) -> None:
    """Delete dead letters; their activities stay."""
    with Client() as client:
        letters = DeadLetters(client.queue, client.engine)
        purged = letters.purge_all() if options.all else letters.purge(options.ids)
    print(f"Purged {purged} dead letter(s).")
    if (unknown := len(set(options.ids)) - purged) > 0:
        raise NegativeResult(f"{unknown} of the ids are no dead letters.")


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": letter.task_id,
        "task": letter.task_name,
        "reason": masked(letter.reason),
        "died_at": letter.died_at.isoformat(),
        "context": letter.context,
    }
    if letter.task_name is None:  # the payload cannot be read
        found["payload"] = letter.payload.decode("utf-8", "backslashreplace")
    return found


@command("queue adopt")
def _adopt(_options: argparse.Namespace) -> None:
    """Let the queue serve this activity store, after the store has moved to another database."""
    with Client() as client:
        adopt_queue(store_name(client.engine), client.queue, force=True)
        print(f"The queue {client.queue.name} serves this activity store now.")
