"""The pages with a table that a program writes have the present one."""

from __future__ import annotations

import pytest

from tests.house import doctor_page, settings_page
from tests.house.written_page import END, WrittenPage


@pytest.mark.parametrize("page", [doctor_page.PAGE, settings_page.PAGE], ids=["doctor", "settings"])
def test_the_page_is_as_the_generator_writes_it(page: WrittenPage) -> None:
    text = page.path.read_text("utf-8")
    assert text.count(page.begin) == text.count(END) == 1
    assert text == page.updated(text), f"run `python -m {page.module}`"
