"""SVG elements as escaped text: a string never becomes markup."""

from __future__ import annotations

from markupsafe import Markup, escape

from harness.masking import printable


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """One element. Numbers are shortened to a tenth of a pixel, None leaves an attribute out.

    Children that are not `Markup` are escaped. `class_` stands for `class`, and `_` for `-`, as in `data_task`.
    """
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(
        child if isinstance(child, Markup) else escape(printable(str(child))) for child in children
    )
    return Markup(f"<{name}{pairs}>{inner}</{name}>")  # noqa: S704 - every part of it was escaped above


def join(parts: list[Markup]) -> Markup:
    """Elements one after another."""
    return Markup("\n").join(parts)


def coordinate(value: float) -> str:
    """A pixel value to a tenth, without a trailing `.0`."""
    return f"{value:.1f}".removesuffix(".0")


def path(*steps: tuple[str, float, float]) -> str:
    """The `d` of a path: letters with their points, as in `path(("M", 0, 0), ("L", 10, 5))`."""
    return "".join(f"{letter}{coordinate(x)} {coordinate(y)}" for letter, x, y in steps)


def _attribute(value: object) -> str:
    return coordinate(value) if isinstance(value, float) else str(escape(printable(str(value))))
