"""Every setting is described in the table that `agentexec config --markdown` prints."""

from __future__ import annotations

import pytest

from agentexec.cli import main
from agentexec.config import Settings, variable
from tests.house.settings_page import described, settings_table


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_is_described(name: str) -> None:
    assert described().get(variable(name), ("", ""))[1], "add its row to agentexec/cli/settings.md"


def test_no_other_setting_is_described() -> None:
    assert described().keys() == {variable(name) for name in Settings.model_fields}


def test_a_row_has_names_type_default_unit_range_and_meaning() -> None:
    rows = settings_table().splitlines()
    for row in (
        "| `AGENTEXEC_NUM_WORKERS` | whole number | 4 | processes | from 1 to 1024 | worker processes of a pool |",
        "| `AGENTEXEC_LOG_FORMAT` | `json` or `text` | none |  |  | format of the log of a pool and its workers |",
        "| `AGENTEXEC_METRICS_HOST` | text | `127.0.0.1` | address |  | address that this port listens on |",
    ):
        assert row in rows
    assert all(row.count(" | ") == 5 for row in rows[2:])


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--markdown"]) == 0
    assert capsys.readouterr().out.rstrip("\n") == settings_table(), (
        "run `python -m tests.house.settings_page`"
    )
