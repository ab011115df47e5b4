"""The load of each environment of Locust, for users and shapes, which Locust makes itself."""

from __future__ import annotations

from typing import Any, Protocol
from weakref import WeakKeyDictionary

from harness.load.locust_options import LoadOptions
from harness.load.locust_test import Sender


class ShapeLike(Protocol):
    """What the number of users depends on in a shape."""

    @property
    def most_users(self) -> int:
        """The bound of the number of users."""
        ...

    @property
    def until(self) -> str | None:
        """The condition that ends the load."""
        ...

    def first_users(self) -> int:
        """The number of users at the beginning."""
        ...


class Load(Protocol):
    """What users and shapes need of the load of their process."""

    def options(self) -> LoadOptions:
        """The options as they are now."""
        ...

    def sender(self) -> Sender:
        """What sends the tasks of a new user."""
        ...

    def users(self, shape: ShapeLike) -> int | None:
        """The number of users that a shape wants now, None at the end of the load."""
        ...


_loads: WeakKeyDictionary[Any, Load] = WeakKeyDictionary()


def add_load(environment: Any, load: Load) -> None:
    """Make a load known to the users and the shape of its environment."""
    _loads[environment] = load


def load_of(environment: Any) -> Load:
    """The load of an environment."""
    return _loads[environment]
