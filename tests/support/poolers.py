"""PgBouncer in transaction mode, with fewer connections to the server than clients."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.conftest import Eventually
from tests.support.production import free_port
from tests.support.servers import make_public, require_package


@contextmanager
def pgbouncer(database_url: str, eventually: Eventually) -> Iterator[str]:
    """A pooler in front of a database; yields the URL through it. Skips the test where it is not installed."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    require_package("pgbouncer", installed=program is not None)
    url = urlsplit(database_url)
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    listen = free_port()
    (folder / "users").write_text(f'"{url.username}" "{url.password}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={url.hostname} port={url.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {listen}\nunix_socket_dir =\nauth_type = trust\nauth_file = {folder / 'users'}\n"
        "pool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 100\n"
    )
    make_public(folder)
    account = {"user": pwd.getpwnam("nobody").pw_uid, "extra_groups": []} if os.geteuid() == 0 else {}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(program), str(folder / "pgbouncer.ini")], stdout=log, stderr=log, **account
        )  # type: ignore[call-overload]  # options of two types
    try:
        eventually(lambda: _answers(listen) or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        yield f"postgresql://{url.username}:{url.password}@127.0.0.1:{listen}{url.path}"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
