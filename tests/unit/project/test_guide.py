"""docs/reference/guide.md beside the production guide: what its code does as written, and the safe form of the page."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from agentexec.config import load_settings
from harness.doctor import file_checks
from harness.doctor.check import Grade
from harness.doctor.installation import DoctorOptions, Installation
from tests.support.environment import ROOT
from tests.support.guide import as_written, safe_forms

PAGE = (ROOT / "docs" / "reference" / "guide.md").read_text("utf-8")
HOUR = timedelta(hours=1)


def called(code: str, name: str) -> Callable[[], str]:
    names: dict[str, Any] = {}
    exec(code, names)
    function: Callable[[], str] = names[name]
    return function


def test_every_fault_of_the_guide_has_a_safe_form_a_reason_and_a_test() -> None:
    faults = re.findall(r"^### (.+?)\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert len(faults) >= 14
    for name, text in faults:
        for part in ("**As written.**", "**Here.**", "**Why.**", "**Test.**"):
            assert part in text, (name, part)


@pytest.fixture
def rotation(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    monkeypatch.setenv("OPENAI_API_KEY", "old")
    monkeypatch.setenv("OPENAI_API_KEY_NEW", "new")
    return lambda date: monkeypatch.setenv("OPENAI_KEY_ROTATION_DATE", date)


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow")
def test_the_key_rotation_of_the_guide_fails_at_a_date_with_a_zone(rotation: Callable[[str], None]) -> None:
    key = called(as_written()["key rotation"], "get_openai_key")
    rotation("2020-01-01T00:00:00+00:00")
    with pytest.raises(TypeError, match="offset-naive and offset-aware"):
        key()


@pytest.mark.parametrize(("age", "key"), [(HOUR, "new"), (-HOUR, "old")])
def test_the_safe_key_rotation_compares_times_with_a_zone(
    age: timedelta, key: str, rotation: Callable[[str], None]
) -> None:
    rotation((datetime.now(UTC) - age).astimezone(UTC).isoformat())
    assert called(safe_forms()["Key rotation"], "openai_key")() == key


def test_the_safe_key_rotation_refuses_a_date_without_a_zone(rotation: Callable[[str], None]) -> None:
    rotation("2020-01-01T00:00:00")
    with pytest.raises(ValueError, match="has no time zone"):
        called(safe_forms()["Key rotation"], "openai_key")()


def allows(policy: str, direction: str, protocol: str, port: int) -> bool:
    """Whether a policy lets its pods reach, or be reached at, this port of any address."""
    for rule in YAML(typ="safe").load(policy)["spec"][direction]:
        ports = rule.get("ports")
        peers = rule.get("to", rule.get("from", []))
        anywhere = all("ipBlock" in peer or "namespaceSelector" in peer for peer in peers)
        if anywhere and (ports is None or {"protocol": protocol, "port": port} in ports):
            return True
    return False


def of_doctor(policy: str, folder: Path) -> tuple[Grade, str]:
    (folder / "policy.yaml").write_text(policy)
    with Installation(DoctorOptions(deployment=folder, environment={})) as site:
        finding = file_checks.network_policy.probe(site)
    return finding.grade, finding.seen


def test_the_network_policy_of_the_guide_allows_neither_names_nor_scrapes(tmp_path: Path) -> None:
    policy = as_written()["network policy"]
    assert allows(policy, "egress", "TCP", 443)
    assert not allows(policy, "egress", "UDP", 53)
    assert not allows(policy, "ingress", "TCP", 9100)
    assert of_doctor(policy, tmp_path) == (Grade.FAIL, "egress without port 53: no name is resolved")


def test_the_safe_network_policy_allows_both(tmp_path: Path) -> None:
    policy = safe_forms()["Network policy"]
    assert allows(policy, "egress", "TCP", 443)
    assert allows(policy, "egress", "UDP", 53)
    assert allows(policy, "egress", "TCP", 53)
    assert allows(policy, "ingress", "TCP", 9100)
    assert of_doctor(policy, tmp_path)[0] is Grade.PASS


def test_every_name_of_the_guides_environment_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AGENTEXEC_")]:
        monkeypatch.delenv(name)
    for name, value in re.findall(r"^(\w+)=(.*)$", as_written()["environment"], re.MULTILINE):
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.require_redis_url(), settings.num_workers) == ("redis://:password@redis-host:6379/0", 4)
    assert settings.require_database_url().endswith("@db-host:5432/agentexec?sslmode=require")
    assert (settings.graceful_shutdown_timeout, settings.queue_name) == (300, "production_tasks")
    assert (settings.redis_pool_size, settings.redis_pool_timeout, settings.result_ttl) == (20, 10, 3600)
    assert settings.table_prefix == "prod_"
