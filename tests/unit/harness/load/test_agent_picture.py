"""The picture of the presets: a curve for each preset in each panel, and a ring for each published quantile."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.load.agents import picture as module
from harness.load.agents.__main__ import main
from harness.load.agents.published import FIGURES, SampleSize


def test_the_command_draws_all_presets_and_published_quantiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SIZE", SampleSize(sessions=300, requests=200, whole=20))
    assert main(["picture", str(tmp_path / "agents.svg")]) == 0
    root = ET.fromstring((tmp_path / "agents.svg").read_text("utf-8"))
    drawn = Counter(element.tag.rpartition("}")[2] for element in root.iter())
    quantities = {quantity for quantity, _ in module._PANELS}
    rings = [figure for figure in FIGURES if figure.key.rpartition(" p")[0] in quantities]
    assert drawn["g"] == 6
    assert drawn["circle"] == len(rings) + 1  # and that of the legend
    # Chats have no tool calls, so they have no curve in the two panels of tool calls.
    assert drawn["path"] == 6 * 4 - 2
