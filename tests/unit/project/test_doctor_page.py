"""docs/reference/doctor.md has the table that the checks of the doctor generate."""

from tests.house.doctor_page import BEGIN, END, PAGE, updated


def test_the_page_is_as_the_generator_writes_it() -> None:
    page = PAGE.read_text("utf-8")
    assert page.count(BEGIN) == page.count(END) == 1
    assert page == updated(page), "run `python -m tests.house.doctor_page`"
