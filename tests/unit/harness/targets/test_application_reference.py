"""The environment of an application: every address of a server in it is that of the run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.environments.base import Endpoints
from harness.errors import UsageError
from harness.scenario import registry
from harness.targets.application_reference import NO_SERVERS, environment_on, on_servers

RUN = Endpoints(
    database_url="postgresql://run:s%40cret@127.0.0.1:5999/run", redis_url="redis://127.0.0.1:6999/3"
)
THEIRS = {
    "DATABASE_URL": "postgresql+asyncpg://u:p@db.example/shop",
    "SHOP_DSN": "postgres://u:p@db.example/shop",
    "CACHE": "rediss://cache.example:6380/0",
    "SHOP_PAGE": "https://shop.example/",
    "SHOP_NAME": "postgres",
    "HARNESS_DATABASE_URL": "postgresql://chosen.example/db",
    "PGHOST": "db.example",
    "PGSERVICE": "shop",
    "PGSSLMODE": "require",
}


@pytest.fixture(autouse=True)
def theirs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("REDIS_URL", raising=False)
    for name, value in THEIRS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".env").write_text(
        "# servers\nexport ONLY_HERE='redis://only.example/1'\nDATABASE_URL=postgres://other\nPLAIN=1\n"
    )


def test_workers_get_the_servers_of_the_run_under_every_name_of_the_application() -> None:
    found = environment_on(RUN)
    assert found["DATABASE_URL"] == RUN.database_url.replace("postgresql:", "postgresql+asyncpg:")
    assert (found["SHOP_DSN"], found["CACHE"], found["ONLY_HERE"]) == (
        RUN.database_url,
        RUN.redis_url,
        RUN.redis_url,
    )
    assert found["REDIS_URL"] == RUN.redis_url
    assert (found["SHOP_PAGE"], found["SHOP_NAME"]) == ("https://shop.example/", "postgres")
    assert found["HARNESS_DATABASE_URL"] == THEIRS["HARNESS_DATABASE_URL"]
    libpq = {name: value for name, value in found.items() if name.startswith("PG")}
    assert (
        libpq.items()
        >= {
            "PGHOST": "127.0.0.1",
            "PGPORT": "5999",
            "PGDATABASE": "run",
            "PGUSER": "run",
            "PGPASSWORD": "s@cret",
        }.items()
    )
    assert not {"PGSERVICE", "PGSSLMODE"} & libpq.keys()
    assert not [value for value in found.values() if "db.example" in value or "cache.example" in value]


def test_a_block_on_servers_leaves_the_environment_as_it_was() -> None:
    before = dict(os.environ)
    with on_servers(RUN):
        assert os.environ["SHOP_DSN"] == RUN.database_url
        assert os.environ["ONLY_HERE"] == RUN.redis_url
    assert dict(os.environ) == before


def test_an_application_is_imported_while_none_of_its_servers_can_be_reached(tmp_path: Path) -> None:
    (tmp_path / "at_import_of_a_test.py").write_text(
        "import os\n"
        "import agentexec as ax\n"
        "from harness.testing import app\n"
        "SEEN = os.environ['DATABASE_URL'], os.environ['REDIS_URL'], os.environ['SHOP_DSN']\n"
        "SHOP = app(ax.Pool(), make=lambda n: None)\n"
    )
    assert registry.application("at_import_of_a_test:SHOP").name == "at_import_of_a_test:SHOP"
    import at_import_of_a_test  # type: ignore[import-not-found]  # written above

    url, redis_url, other = at_import_of_a_test.SEEN
    assert (redis_url, other) == (NO_SERVERS.redis_url, NO_SERVERS.database_url)
    assert url == NO_SERVERS.database_url.replace("postgresql:", "postgresql+asyncpg:")
    assert os.environ["DATABASE_URL"] == THEIRS["DATABASE_URL"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "import os\nos.environ['NO_SUCH_VARIABLE']\n",
            "cannot be imported: KeyError: 'NO_SUCH_VARIABLE'. Correct",
        ),
        (
            "import no_such_module\n",
            "cannot be imported: No module named 'no_such_module'. Install what it imports in the environment of",
        ),
        ("from os import no_such_name\n", "cannot import name 'no_such_name' .*. Correct its module"),
        ("from harness.testing import app\napp(5, make=len)\n", r"app\(\) does not know what runs a int"),
        ("SHOP = 5\n", "is not an application of harness.testing but a int. Write SHOP"),
    ],
)
def test_a_module_that_fails_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    name = f"wrong_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text)
    with pytest.raises(UsageError, match=sentence):
        registry.application(f"{name}:SHOP")


@pytest.mark.parametrize(
    ("named", "module"),
    [
        ("./chaos_shop.py:SHOP", "chaos_shop:SHOP in the folder"),
        ("chaos_shop.py:SHOP", "chaos_shop:SHOP in the folder"),
        ("/a/chaos_shop.py:SHOP", "chaos_shop:SHOP in the folder"),
        ("a/chaos_shop:SHOP", "a.chaos_shop:SHOP, or chaos_shop:SHOP in the folder"),
    ],
)
def test_the_path_of_a_file_is_one_sentence_with_its_module(named: str, module: str) -> None:
    with pytest.raises(UsageError, match=rf"names a file\. Name its module, as {module}"):
        registry.application(named)
