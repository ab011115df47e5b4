"""A shop that gives refunds in the background, as its own team would write it: nothing here knows the harness.

    agentexec worker shop:pool       # with DATABASE_URL and REDIS_URL

`refund` books into `shop_ledger` each time that it runs. A handler runs at least once: if a worker dies after the
booking, the next run books again. `refund_once` has the id of the task as the key of the booking, so that the second
run changes nothing.
"""

from __future__ import annotations

import os
from uuid import UUID

import psycopg
from pydantic import BaseModel

import agentexec as ax

pool = ax.Pool(queue_name="shop")

TABLE = """CREATE TABLE IF NOT EXISTS shop_ledger (
    agent_id uuid NOT NULL, customer_order int NOT NULL, cents int NOT NULL)"""
KEYS = """CREATE TABLE IF NOT EXISTS shop_refunds (
    agent_id uuid PRIMARY KEY)"""
BOOKING = "INSERT INTO shop_ledger (agent_id, customer_order, cents) VALUES (%s, %s, %s)"
FIRST = "INSERT INTO shop_refunds (agent_id) VALUES (%s) ON CONFLICT DO NOTHING"


class Refund(BaseModel):
    """Money that a customer gets back for an order."""

    order: int
    cents: int


def create_tables(database_url: str) -> None:
    """Create the tables of the shop."""
    with psycopg.connect(database_url) as connection:
        connection.execute(TABLE)
        connection.execute(KEYS)


@pool.task("refund")
async def refund(agent_id: UUID, context: Refund) -> None:
    """Book a refund. Unsafe: each run books."""
    async with await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"]) as connection:
        await connection.execute(BOOKING, (agent_id, context.order, context.cents))


@pool.task("refund_once")
async def refund_once(agent_id: UUID, context: Refund) -> None:
    """Book a refund. Safe: the id of the task is the key, and the key and the booking are one transaction."""
    async with await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"]) as connection:
        first = await connection.execute(FIRST, (agent_id,))
        if first.rowcount:
            await connection.execute(BOOKING, (agent_id, context.order, context.cents))
