import shop  # your own module, unchanged: shop.pool is its ax.Pool

from harness.testing import app

SHOP = app(shop.pool, setup=shop.create_tables, make=lambda n: ("refund", shop.Refund(order=n, cents=100)))


@SHOP.invariant("each refund is booked once", sql="SELECT agent_id, count(*) FROM shop_ledger GROUP BY 1")
def once(rows, completed):
    return {task for task in completed if rows.get(task) != 1}
