"""The settings that a checker was made with: a history carries them, so that it can be judged again by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

Made = TypeVar("Made")
Arguments = ParamSpec("Arguments")

_SETTINGS = "harness_settings"
"""The attribute of a checker, or of a budget, that holds what it was made with."""

_FACTORIES: dict[str, Callable[..., Any]] = {}


class NotCarried(ValueError):
    """A checker, or one of its settings, that a history cannot carry."""


def keeps_settings(factory: Callable[Arguments, Made]) -> Callable[Arguments, Made]:
    """The factory, whose checkers can be recorded and made again under its name.

    A setting that is no JSON value keeps a checker from being recorded, unless such a factory made it too.
    """
    name, parameters = factory.__name__.lstrip("_"), signature(factory)

    @wraps(factory)
    def made(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Made:
        result = factory(*args, **kwargs)
        bound = parameters.bind(*args, **kwargs)
        bound.apply_defaults()
        setattr(result, _SETTINGS, (name, dict(bound.arguments)))
        return result

    _FACTORIES[name] = made
    return made


def is_setting(function: Made) -> Made:
    """A function that is a setting itself, as a budget is; it is recorded by its name."""
    name = str(getattr(function, "__name__", ""))
    setattr(function, _SETTINGS, (name, {}))
    _FACTORIES[name] = lambda: function
    return function


def recorded(checker: object) -> dict[str, Any]:
    """The name and the settings of a checker as JSON; raises `NotCarried`."""
    try:
        name, settings = getattr(checker, _SETTINGS)
    except AttributeError:
        raise NotCarried("the checker is not one of the harness") from None
    return {"made_by": name, "settings": {key: _value(value) for key, value in settings.items()}}


def made_again(value: Any) -> Any:
    """The checker, or the setting, that `recorded` describes; raises `NotCarried` for any other value."""
    match value:
        case {"made_by": str(name), "settings": Mapping() as settings}:
            if name not in _FACTORIES:
                raise NotCarried(f"this harness has no checker {name!r}")
            try:
                return _FACTORIES[name](**{key: made_again(one) for key, one in settings.items()})
            except (TypeError, ValueError) as error:
                raise NotCarried(f"the settings of {name} do not fit: {error}") from None
        case list():
            return [made_again(one) for one in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            raise NotCarried(f"{value!r} describes no checker")


def _value(setting: object) -> Any:
    if hasattr(setting, _SETTINGS):
        return recorded(setting)
    if isinstance(setting, list | tuple | set | frozenset):
        return [_value(one) for one in setting]
    if setting is None or isinstance(setting, bool | int | float | str):
        return setting
    raise NotCarried(f"a setting is a {type(setting).__name__}")
