"""The pages with a table that a program writes have the present one."""

from __future__ import annotations

import pytest

from tests.alerts import record
from tests.house import doctor_page, settings_page
from tests.house.written_page import END, WrittenPage
from tests.mistakes import matrix

PAGES = (doctor_page.PAGE, settings_page.PAGE, matrix.PAGE, record.PAGE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.stem)
def test_the_page_is_as_the_generator_writes_it(page: WrittenPage) -> None:
    text = page.path.read_text("utf-8")
    assert text.count(page.begin) == text.count(END) == 1
    assert text == page.updated(text), f"run `python -m {page.module}`"
