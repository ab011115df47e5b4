"""What `make` of an application gives, as a message: the name of a task, its arguments and its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import FOREIGN_ERRORS, TargetFailed, describe_error

Make = Callable[[int], Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskMessage:
    """A task that is to be submitted; `options` are those of the system's own call.

    `name` is what the system calls it by: a text, or a function for systems that find a task by its function.
    """

    name: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name as text: of a function with its module, of a class or an object of one that of the class."""
        if isinstance(self.name, str):
            return self.name
        if inspect.isroutine(self.name):
            return f"{self.name.__module__}.{self.name.__qualname__}"
        return (self.name if isinstance(self.name, type) else type(self.name)).__name__


def made_by(make: Make, number: int) -> Any:
    """What `make` gives for the number of a task; raises `TargetFailed` if it raises."""
    try:
        return make(number)
    except FOREIGN_ERRORS as error:
        raise TargetFailed(f"make({number}) raised {describe_error(error)}. Correct it.") from error


def wrong_form(number: int, made: object, forms: str) -> TargetFailed:
    """The error for a value of `make` that has none of these forms."""
    return TargetFailed(f"make({number}) returned {type(made).__name__}. Return {forms}.")


def message_of(
    make: Make,
    number: int,
    *,
    forms: str,
    name_of: Callable[[Any], Any],
    own_form: Callable[[Any], TaskMessage | None] | None = None,
) -> TaskMessage:
    """The message that `make` gives; raises `TargetFailed`, one sentence that lists the `forms` it may have.

    The forms of every kind are (task, args) and (task, args, options), where args are a list or a dict, and `name_of`
    gives the name of a task, None for anything else. `own_form` reads what only this kind has, such as a signature.
    """
    made = made_by(make, number)
    own = own_form(made) if own_form else None
    if own is not None:
        return own
    match made:
        case (task, list() | tuple() | Mapping() as given):
            options: Mapping[str, Any] = {}
        case (task, list() | tuple() | Mapping() as given, Mapping() as options):
            pass
        case _:
            raise wrong_form(number, made, forms)
    name = name_of(task)
    if name is None:
        raise wrong_form(number, made, forms)
    by_name = isinstance(given, Mapping)
    return TaskMessage(
        name=name,
        args=() if by_name else tuple(given),
        kwargs=dict(given) if by_name else {},
        options=dict(options),
    )


def require_known(name: str, known: Mapping[str, Any], number: int) -> None:
    """Raise `TargetFailed` if `make` names a task that the application does not have."""
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        raise TargetFailed(
            f"make({number}) names the task {name!r}, which the application does not have. Known: {names}."
        )


def require_served(what: str, name: str, served: Iterable[str], number: int, remedy: str = "") -> None:
    """Raise `TargetFailed` if `make` sends to a queue, stream or priority that the workers do not serve."""
    if name not in served:
        raise TargetFailed(
            f"make({number}) sends to the {what} {name!r}, which the workers of the application do not serve. "
            f"They serve {', '.join(sorted(served))}.{remedy}"
        )
