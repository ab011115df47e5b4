"""adapter.toml: every mistake is one sentence that names the file, what is wrong and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.environments.base import Topology
from harness.errors import UsageError
from harness.history.promises import DeliveryMode
from harness.scenario import registry
from harness.targets.adapter import SHIPPED, AdapterTarget, shipped
from harness.targets.adapter_file import read_adapter

GOOD = """
name = "mine"
distribution = "mine"
requirements = ["mine>=1"]
needs = ["redis"]
pool = ["{python}", "{folder}/pool.py"]
client = ["client"]
[settings]
ack = "early"
other = "kept"
[promises]
delivery = "at-most-once"
[promises.quotes.delivery]
sentence = "It may be lost."
address = "https://example.org"
[profiles.late]
requirements = ["mine>=2"]
[profiles.late.settings]
ack = "late"
[profiles.late.promises]
delivery = "at-least-once"
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "adapter.toml"
    file.write_text(text, "utf-8")
    return file


def test_a_file_or_its_folder_is_read(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    found = read_adapter(file)
    assert found == read_adapter(tmp_path)
    assert (found.name, found.full_name, found.profile) == ("mine", "mine", "")
    assert (found.pool, found.client) == (("{python}", "{folder}/pool.py"), ("client",))
    assert (found.folder, found.profiles) == (tmp_path, ("late",))


def test_topologies_are_named_as_those_of_the_harness(tmp_path: Path) -> None:
    found = read_adapter(write(tmp_path, f'topologies = ["redis-sentinel"]\n{GOOD}'))
    assert found.topologies == (Topology.REDIS_SENTINEL,)
    assert read_adapter(write(tmp_path, GOOD)).topologies == ()


def test_a_profile_replaces_keys_and_merges_tables(tmp_path: Path) -> None:
    found = read_adapter(write(tmp_path, GOOD), "late")
    assert found.full_name == "mine@late"
    assert found.requirements == ("mine>=2",)
    assert found.settings == {"ack": "late", "other": "kept"}
    assert found.promises.delivery is DeliveryMode.AT_LEAST_ONCE
    assert found.promises.quotes["delivery"].sentence == "It may be lost."
    assert read_adapter(tmp_path).promises.delivery is DeliveryMode.AT_MOST_ONCE


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "mine"', "", "`name` is missing. Add it: a text"),
        ('name = "mine"', "name = 3", "`name` is 3. Make it a text"),
        ('name = "mine"', 'name = "My Queue"', "`name` is 'My Queue'. Use lower-case letters"),
        ('name = "mine"', 'name = "a@b"', "`name` is 'a@b'. Use lower-case letters"),
        ('client = ["client"]', "", "`client` is missing. Add it: a command as a list"),
        ('client = ["client"]', 'client = "client"', "`client` is 'client'. Make it a command as a list"),
        ('client = ["client"]', "client = []", "`client` is []. Make it a command as a list"),
        ('client = ["client"]', 'client = [""]', "`client` is ['']. Make it a command as a list"),
        (
            '["client"]',
            '["{pythons}"]',
            "`client` has the unknown placeholder {pythons}. Use {python}, {folder}, {queue}",
        ),
        ('needs = ["redis"]', 'needs = "redis"', "`needs` is 'redis'. Make it a list of texts"),
        ('needs = ["redis"]', 'need = ["redis"]', "there is no key 'need'. Did you mean needs?"),
        (
            'needs = ["redis"]',
            'topologies = ["sentinel"]',
            "`topologies` is ['sentinel']. Make it a list of redis-sentinel, postgres-standby, pgbouncer",
        ),
        ('needs = ["redis"]', "needs = [1]", "`needs` is [1]. Make it a list of texts"),
        (
            '"at-most-once"',
            '"twice"',
            "the promise delivery is 'twice'; write one of at-least-once, at-most-once.",
        ),
        (
            'delivery = "at',
            'deliver = "at',
            "there is no promise 'deliver'; choose from cancels_within, charges, deadlock_free",
        ),
        (
            "[promises]",
            "[promises]\ntakes_over_after = inf",
            "the promise takes_over_after is inf; write a number",
        ),
        (
            "[promises]",
            "[promises]\nrecovers_within = nan",
            "the promise recovers_within is nan; write a number",
        ),
        (
            "[promises]",
            "[promises]\nslots_per_worker = 0",
            "the promise slots_per_worker is 0; write a whole",
        ),
        ("[promises]", '[promises]\nsurvives = "sigterm"', "the promise survives is 'sigterm'; write a list"),
        (
            "[promises]",
            '[promises]\nsurvives = [["sigterm"]]',
            "the promise survives is ['sigterm']; write one of",
        ),
        (
            "[promises.quotes.delivery]",
            '[promises.quotes]\ndelivery = "x"\n[settings.x]',
            "`settings` is {'ack': 'early'",
        ),
        ('sentence = "It may be lost."', "sentence = 1", "the promise quotes.delivery is {'sentence': 1"),
        ('ack = "early"', "ack = true", "`settings` is {'ack': True"),
        ("[profiles.late]", "[profiles]", "`profiles` is not a table of tables. Write [profiles.NAME]"),
        ('name = "mine"', 'name = "mine', "it is not TOML"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    file = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        read_adapter(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistake_in_a_profile_is_found_when_it_is_chosen(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD.replace('["mine>=2"]', "2"))
    assert read_adapter(file).requirements == ("mine>=1",)
    with pytest.raises(UsageError, match="`requirements` is 2"):
        read_adapter(file, "late")


def test_a_profile_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no profile 'lete'\. Choose one of late\."):
        read_adapter(write(tmp_path, GOOD), "lete")
    with pytest.raises(UsageError, match="Leave @ and the profile out"):
        read_adapter(write(tmp_path, GOOD.partition("[profiles")[0]), "late")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"adapter.toml cannot be read: No such file"):
        read_adapter(tmp_path)


@pytest.mark.parametrize("name", shipped())
def test_every_profile_of_a_shipped_adapter_is_right_and_has_the_name_of_its_folder(name: str) -> None:
    found = read_adapter(SHIPPED / name)
    assert found.name == name
    for profile in found.profiles:
        read_adapter(SHIPPED / name, profile)


def test_the_registry_finds_adapters_by_path_folder_and_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path.parent)
    for name in (str(file), f"{tmp_path}/", tmp_path.name, f"{file}@late"):
        found = registry.target(name)
        assert isinstance(found, AdapterTarget)
        assert found.name == ("mine@late" if "@" in name else "mine")
    assert registry.target("rq").name == "rq"
    assert {"agentexec", *shipped()} <= set(registry.names(registry.TARGETS))


def test_a_name_that_nothing_has_is_refused_with_the_shipped_ones() -> None:
    with pytest.raises(
        UsageError, match=r"There is no target 'rqq'\. Did you mean rq\? Known: agentexec, .*rq"
    ):
        registry.target("rqq")
    with pytest.raises(UsageError, match=r"no/such/adapter.toml cannot be read"):
        registry.target("no/such/adapter.toml")
