"""`agentexec queue`: the queue as a whole."""

from __future__ import annotations

import argparse

from agentexec.cli.parsing import command
from agentexec.producer.client import Client
from agentexec.queue.ownership import adopt_queue
from agentexec.store.installation import store_name


@command("queue adopt")
def _adopt(_options: argparse.Namespace) -> None:
    """Let the queue serve this activity store, after the store has moved to another database."""
    with Client() as client:
        adopt_queue(store_name(client.engine), client.queue, force=True)
        print(f"The queue {client.queue.name} serves this activity store now.")
