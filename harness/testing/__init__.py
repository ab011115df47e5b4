"""Your own application under test: docs/howto/your-own-app.md.

    from harness.testing import app
    import shop

    SHOP = app(shop.pool, make=lambda n: ("refund", shop.Refund(order=n, cents=100)))

    @SHOP.invariant("each refund is booked once", sql="SELECT agent_id, count(*) FROM shop_ledger GROUP BY 1")
    def once(rows, completed):
        return {task for task in completed if rows.get(task) != 1}

`harness chaos run kill-pool --app chaos_shop:SHOP` runs the pool with its own handlers and judges the invariant.
"""

from __future__ import annotations

from harness.testing.application import Application, app
from harness.testing.kinds import WrappedApplication

__all__ = ["Application", "WrappedApplication", "app"]
