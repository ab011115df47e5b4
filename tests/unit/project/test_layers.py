"""The layers of agentexec: no module imports one of a higher layer."""

import pytest

from tests.house.circles import module_graph
from tests.house.imports import LAYERS, upward_imports
from tests.house.sources import ROOT, sources


def test_no_module_imports_one_of_a_higher_layer() -> None:
    assert set(upward_imports(module_graph(sources()))) == set()


def test_every_folder_of_agentexec_is_in_a_layer() -> None:
    folders = {path.name for path in (ROOT / "agentexec").iterdir() if (path / "__init__.py").exists()}
    assert folders == set().union(*LAYERS) - {"root"}


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("agentexec.task", "agentexec.errors", True),
        ("agentexec.task", "agentexec.store.rows", False),
        ("agentexec.store.hot", "agentexec.store.rows", True),
        ("agentexec.store.hot", "agentexec.task", True),
        ("agentexec.store.hot", "agentexec.core.db", False),
        ("agentexec.producer.client", "agentexec.activity", False),
        ("agentexec.activity.lifecycle", "agentexec.producer.client", True),
        ("agentexec.cli.database", "agentexec.migrations", True),
        ("agentexec.worker.loop", "agentexec", False),
        ("agentexec.__main__", "agentexec.cli", True),
        ("agentexec", "agentexec.worker.pool", True),
        ("loadtests.run", "agentexec.worker.pool", True),
    ],
)
def test_the_layer_rule_on_examples(importer: str, imported: str, allowed: bool) -> None:
    assert list(upward_imports({importer: {imported}})) == ([] if allowed else [(importer, imported)])
