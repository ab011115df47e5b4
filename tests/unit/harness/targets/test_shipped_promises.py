"""The promises of the shipped adapters: each loss that a system survives is quoted from its documentation."""

from __future__ import annotations

import pytest

from harness.targets.adapter import SHIPPED, AdapterTarget, shipped
from harness.targets.adapter_file import AdapterFile, read_adapter


def adapters() -> list[AdapterFile]:
    files = [read_adapter(SHIPPED / name) for name in shipped()]
    return files + [read_adapter(one.folder, profile) for one in files for profile in one.profiles]


@pytest.mark.parametrize("file", adapters(), ids=lambda file: file.full_name)
def test_each_loss_that_a_shipped_system_survives_has_a_quote(file: AdapterFile) -> None:
    quotes = file.promises.quotes
    if "survives" not in quotes:
        assert file.promises.survives - quotes.keys() == set()
    for quote in quotes.values():
        assert quote.sentence.strip()
        assert quote.address.startswith("https://")


@pytest.mark.parametrize("file", adapters(), ids=lambda file: file.full_name)
def test_the_table_shows_the_settings_of_a_shipped_system(file: AdapterFile) -> None:
    assert AdapterTarget(file).settings == file.settings
