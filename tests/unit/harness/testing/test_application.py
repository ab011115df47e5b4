"""`app`: what it takes, and what it refuses with one sentence."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

import agentexec as ax
from harness.environments.base import Endpoints
from harness.errors import TargetFailed, UsageError
from harness.targets.application_reference import reference_of
from harness.targets.applications.agentexec import _as_request
from harness.targets.base import TargetSettings
from harness.testing import Application, app


class Order(BaseModel):
    number: int


pool = ax.Pool(queue_name="shop")


@pool.task("order")
async def order(agent_id: UUID, context: Order) -> None: ...


def make(number: int) -> tuple[str, Order]:
    return "order", Order(number=number)


SHOP = app(pool, make=make)
NOWHERE = Endpoints(database_url="postgresql://127.0.0.1:1/x", redis_url="redis://127.0.0.1:1/0")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            (object(),),
            "app\\(\\) does not know what runs a object. Pass the pool or application of agentexec",
        ),
        ((Order(number=1),), "does not know what runs a Order"),
        ((order,), "does not know what runs a function"),
        ((ax.Task(task_name="x", agent_id=UUID(int=1)),), "app\\(\\) takes an ax.Pool, not Task"),
    ],
)
def test_only_what_runs_handlers_is_an_application(arguments: tuple[Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        app(*arguments, make=make)


def test_a_subclass_of_a_pool_is_one() -> None:
    class ShopPool(ax.Pool):
        pass

    assert app(ShopPool(), make=make).version() == ax.__version__


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"make": None}, "make is NoneType. Pass a function of the number"),
        ({"make": make, "setup": lambda: None}, "setup takes the URLs of the run's servers"),
        ({"make": make, "setup": lambda a, b, c: None}, "setup takes the URLs"),
        ({"make": make, "setup": "sql"}, "setup takes the URLs"),
        ({"make": make, "work": -1}, "work is -1. Give seconds"),
        ({"make": make, "work": True}, "work is True. Give seconds"),
    ],
)
def test_a_wrong_argument_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        app(pool, **options)


def fresh() -> Application:
    return app(pool, make=make)


def test_an_invariant_becomes_a_checker_and_its_function_stays_as_it_is() -> None:
    shop = fresh()

    def once(rows: Any, completed: Any) -> bool:
        return True

    assert shop.invariant("once", sql="SELECT 1, 2")(once) is once
    assert list(shop.checkers()) == ["invariant: once"]


@pytest.mark.parametrize(
    ("name", "sources", "function", "sentence"),
    [
        ("", {}, lambda completed: True, "needs a name of its own"),
        ("known", {}, lambda completed: True, "needs a name of its own, not 'known'"),
        (
            "x",
            {"sql": "SELECT 1", "http": "http://h/"},
            lambda rows: True,
            "has the sources sql and http. Give one",
        ),
        ("x", {}, lambda rows, completed: True, r"takes other arguments. Write def f\(completed\)"),
        ("x", {"sql": "SELECT 1"}, lambda: True, r"takes other arguments. Write def f\(rows, completed\)"),
        ("x", {"sql": "SELECT 1"}, lambda a, b, c: True, "takes other arguments"),
        ("x", {}, 5, "decorates int. Decorate a function"),
    ],
)
def test_a_wrong_invariant_is_refused(
    name: str, sources: dict[str, Any], function: Any, sentence: str
) -> None:
    shop = fresh()
    shop.invariant("known")(lambda completed: True)
    with pytest.raises(UsageError, match=sentence):
        shop.invariant(name, **sources)(function)


@pytest.mark.parametrize(
    "made",
    [
        ("order", Order(number=7)),
        ("order", Order(number=7), {"priority": ax.Priority.HIGH, "delay": 1.5, "lock_key": "a"}),
        ax.TaskRequest(task_name="order", context=Order(number=7)),
    ],
)
def test_make_may_give_a_task_in_three_forms(made: Any) -> None:
    request = _as_request(lambda number: made, 7)
    assert (request.task_name, request.context) == ("order", Order(number=7))
    assert request.delay == (1.5 if len(made) == 3 else 0.0) if isinstance(made, tuple) else True


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (None, r"make\(7\) returned NoneType. Return \(name, context\)"),
        (("order",), r"make\(7\) returned tuple"),
        (("order", Order(number=1), {"colour": 1}), r"make\(7\) has a wrong option: TypeError: .*colour"),
        (("order", Order(number=1), 5), r"make\(7\) returned tuple"),
    ],
)
def test_make_may_give_nothing_else(made: Any, sentence: str) -> None:
    with pytest.raises(TargetFailed, match=sentence):
        _as_request(lambda number: made, 7)


def refuse(number: object) -> None:
    raise ValueError(f"no order {number}")


def test_make_that_raises_is_named_with_its_number() -> None:
    with pytest.raises(TargetFailed, match=r"make\(7\) raised ValueError: no order 7. Correct it."):
        _as_request(refuse, 7)


def test_workers_import_the_variable_that_holds_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("shop_of_a_test")
    module.__spec__ = app.__globals__["__spec__"]
    monkeypatch.setitem(sys.modules, "shop_of_a_test", module)
    shop = fresh()
    module.SHOP = shop  # type: ignore[attr-defined]
    assert shop.name == "shop_of_a_test:SHOP"
    with pytest.raises(UsageError, match=r"must be a module-level variable. Write SHOP = app"):
        reference_of(fresh())


def test_a_source_that_fails_is_recorded_without_a_password() -> None:
    shop = fresh()
    shop.invariant("sql", sql="SELECT 1, 2")(lambda rows: True)
    shop.invariant("redis", redis="HGETALL x")(lambda rows: True)
    shop.invariant("http", http="http://127.0.0.1:1/")(lambda rows: True)
    secret = Endpoints(
        database_url="postgresql://u:hunter2@127.0.0.1:1/x", redis_url="redis://:hunter2@127.0.0.1:1/0"
    )
    for one in shop.invariants:
        observed = one.observe(secret, [])
        assert observed["error"].startswith("the source failed: "), observed
        assert "hunter2" not in str(observed)


def settings(folder: Path) -> TargetSettings:
    return TargetSettings(queue="q", folder=folder, history=folder, gate_address="none")


class NoSession:
    def close(self) -> None: ...


class NoServers:
    """What `app` wraps, without servers."""

    def open(self, endpoints: Endpoints, settings: Any) -> Any:
        return NoSession()


def test_setup_gets_as_many_urls_as_it_takes_and_the_environment_of_the_run(tmp_path: Path) -> None:
    given: list[tuple[str, ...]] = []

    async def three(url: str) -> None:
        given.append((url, "async"))

    setups: list[Any] = [
        lambda url: given.append((url, os.environ["DATABASE_URL"])),
        lambda url, other, *, extra=1: given.append((url, other)),
        three,
        lambda url="of the user": given.append((url, "instead")),
        lambda *urls: given.append(urls),
    ]
    before = os.environ.get("DATABASE_URL")
    for setup in setups:
        shop = app(pool, make=make, setup=setup)
        shop.wrapped = NoServers()  # type: ignore[assignment]
        shop.open(NOWHERE, settings(tmp_path)).close()
    database, redis = NOWHERE.database_url, NOWHERE.redis_url
    assert given == [
        (database, database),
        (database, redis),
        (database, "async"),
        (database, "instead"),
        (database,),
    ]
    assert os.environ.get("DATABASE_URL") == before


def test_setup_that_raises_is_one_sentence(tmp_path: Path) -> None:
    shop = app(pool, make=make, setup=refuse)
    shop.wrapped = NoServers()  # type: ignore[assignment]
    before = dict(os.environ)
    with pytest.raises(TargetFailed, match=r"setup raised ValueError: no order postgresql://.*Correct it"):
        shop.open(NOWHERE, settings(tmp_path))
    assert dict(os.environ) == before
