"""What a client sends before the server is connected."""

from __future__ import annotations

from unittest.mock import MagicMock

from harness.wire.conditions import Direction
from harness.wire.link import ClientEnd


def test_bytes_before_the_connection_to_the_server_reach_it_first() -> None:
    """asyncio of Python 3.11.2 reads once more after a pause in `connection_made`."""
    owner, streams = MagicMock(), {each: MagicMock() for each in Direction}
    owner.stream.side_effect = lambda _link, direction: streams[direction]
    end = ClientEnd(owner, None)
    end._link.client_connected(MagicMock())
    end.data_received(b"first")
    end._link.server_connected(MagicMock())
    end.data_received(b"second")
    assert [call.args[0] for call in streams[Direction.TO_SERVER].send.call_args_list] == [
        b"first",
        b"second",
    ]
