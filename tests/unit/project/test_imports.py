"""Which package imports which, what third parties each may need, and that nothing unpickles."""

import pytest

from tests.house.imports import FORBIDDEN, declared, extras_for, forbidden_imports, undeclared
from tests.house.sources import PACKAGES, ROOT, imported_by, imports_of, name_of, sources


def test_every_import_between_the_packages_is_allowed() -> None:
    found = {name_of(path): forbidden_imports(name_of(path), imported_by(path)) for path in sources()}
    assert {module: names for module, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("module", "source", "forbidden"),
    [
        ("agentexec.queue.protocol", "import harness.gate", ["harness.gate"]),
        ("agentexec.queue.protocol", "from agentexec import keys\nimport redis", []),
        (
            "harness.run.runner",
            "def f():\n    from agentexec.queue.protocol import Queue",
            ["agentexec.queue.protocol.Queue"],
        ),
        ("harness.targets.agentexec", "from agentexec import Pool", []),
        ("harness.targets.agentexec", "from agentexec import _secret", ["agentexec._secret"]),
        ("harness.cli", "from importlib import import_module\nimport_module('chaos')", ["chaos"]),
        ("harness.checkers.delivery", "from harness.checkers.counterexample import stories", []),
        ("harness.targets_of_others", "import agentexec", ["agentexec"]),
        ("chaos.kill", "from agentexec import Pool", ["agentexec.Pool"]),
        ("chaos.kill", "from loadtests import users", ["loadtests.users"]),
        ("loadtests.users", "from chaos import SCENARIOS", ["chaos.SCENARIOS"]),
        (
            "harness.report.page",
            "from ..checker import Verdict\nfrom ...tests import helper",
            ["tests.helper"],
        ),
        ("loadtests.run", "from tests import conftest", ["tests.conftest"]),
    ],
)
def test_the_import_rule_on_examples(module: str, source: str, forbidden: list[str]) -> None:
    assert forbidden_imports(module, imports_of(source, module)) == forbidden


@pytest.mark.parametrize("package", PACKAGES)
def test_third_parties_are_declared_where_they_are_needed(package: str) -> None:
    """A pool is installed without extras, and the harness beside any system, without what the reference needs."""
    names = {name_of(path): path for path in sources() if path.startswith(f"{package}/")}
    missing = {n: undeclared(imported_by(p), declared(extras=extras_for(n))) for n, p in names.items()}
    assert {module: tops for module, tops in missing.items() if tops} == {}


def test_the_third_party_rule_on_examples() -> None:
    assert undeclared(["json", "redis.asyncio", "chaos", "unknown_yaml"], {"redis"}) == {"unknown_yaml"}
    assert undeclared(["psycopg"], declared(extras=set())) == set()
    assert undeclared(["redis", "sqlalchemy"], declared(extras=set())) == {"redis", "sqlalchemy"}
    assert undeclared(["redis"], declared(extras=extras_for("agentexec.queue.redis_queue"))) == set()
    assert undeclared(["redis"], declared(extras=extras_for("harness.faults.redis_memory"))) == {"redis"}
    assert undeclared(["fastapi"], declared(extras=extras_for("agentexec.producer.client"))) == {"fastapi"}
    assert undeclared(["fastapi"], declared(extras=extras_for("agentexec.ops.metrics"))) == {"fastapi"}
    assert undeclared(["fastapi"], declared(extras=extras_for("agentexec.api.app"))) == set()


def test_nothing_is_unpickled() -> None:
    found = [
        path for path in sources() if {name.partition(".")[0] for name in imported_by(path)} & {*FORBIDDEN}
    ]
    assert found == []


def test_every_package_is_there() -> None:
    assert [package for package in PACKAGES if not (ROOT / package / "__init__.py").is_file()] == []
