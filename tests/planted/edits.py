"""A defect as edits of the source: the changed text is the code that runs.

An edit names a function, a statement or a Lua script, the text in it and the replacement. It is applied in place, in
this process, and reverted afterwards. A function keeps its identity and gets the code of the changed source, so modules
that imported it by name run the defect too. If the text is not found exactly as often as expected, the source has
changed and the edit raises: a defect that changes nothing would make every means seem unable to find it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from importlib import import_module
from importlib.resources import files
from types import CodeType, FunctionType, ModuleType
from typing import Any

from agentexec.queue import redis_queue
from agentexec.store import changes, dialects
from agentexec.store.changes import ActivityChange

LUA = "lua/"


class StaleEdit(Exception):
    """The text that an edit replaces is no longer there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """One change of the source.

    `where` is `package.module:function`, `package.module:Class.method`, `package.module:STATEMENT` (an `ActivityChange`
    or its SQL), `package.module:DICT[key]` or `lua/script.lua`; `old` has to stand in it `times` times, unless `new` is
    the `whole` text.
    """

    where: str
    old: str
    new: str
    times: int = 1
    whole: bool = False

    def apply(self, source: str) -> str:
        """The changed text; raises `StaleEdit`."""
        if self.whole:
            return self.new
        found = source.count(self.old)
        if found != self.times:
            raise StaleEdit(
                f"{self.where} has {found} times, not {self.times} times, the text\n{self.old}\n"
                "Adapt the planted defect to the implementation."
            )
        return source.replace(self.old, self.new)


@contextmanager
def applied(edits: Sequence[Edit]) -> Iterator[None]:
    """Run the block with all edits in force; raises `StaleEdit` before it where one does not fit."""
    with ExitStack() as stack:
        scripts = [edit for edit in edits if edit.where.startswith(LUA)]
        if scripts:
            stack.enter_context(_scripts(scripts))
        places = dict.fromkeys(edit.where for edit in edits if edit not in scripts)
        stack.callback(_forget_statements)
        for place in places:
            stack.enter_context(_python(place, [edit for edit in edits if edit.where == place]))
        _forget_statements()
        yield


def _forget_statements() -> None:
    """Let every statement be made from its template again."""
    for made_once in (dialects._statement, dialects.relation, changes._one_statement):
        made_once.cache_clear()


@contextmanager
def _scripts(edits: Sequence[Edit]) -> Iterator[None]:
    """What every `RedisQueue` that is made inside loads."""
    changed = {name: _changed(name, edits) for name in ("common", *redis_queue.SCRIPTS)}
    original: Callable[..., str] = redis_queue.script_source

    def script_source(name: str, *, flags: bool) -> str:
        head = original(name, flags=flags).removesuffix(_lua("common") + _lua(name))
        return head + changed["common"] + changed[name]

    with _set(redis_queue, "script_source", script_source):
        yield


def _changed(name: str, edits: Sequence[Edit]) -> str:
    own = [edit for edit in edits if edit.where == f"{LUA}{name}.lua"]
    return reduce(lambda source, edit: edit.apply(source), own, _lua(name))


def _lua(name: str) -> str:
    return (files("agentexec.queue") / "lua" / f"{name}.lua").read_text("utf-8")


@contextmanager
def _python(place: str, edits: Sequence[Edit]) -> Iterator[None]:
    module_name, _, path = place.partition(":")
    module = import_module(module_name)
    if path.endswith("]"):
        name, _, key = path.removesuffix("]").partition("[")
        with _set_item(getattr(module, name), key, edits):
            yield
        return
    found: Any = reduce(getattr, path.split("."), module)
    if isinstance(found, ActivityChange):
        template = reduce(lambda sql, edit: edit.apply(sql), edits, found.sql)
        with _set(module, path, replace(found, sql=template)):
            yield
        return
    if isinstance(found, str):
        with _set(module, path, reduce(lambda sql, edit: edit.apply(sql), edits, found)):
            yield
        return
    function = function_at(place)
    before = function.__code__
    function.__code__ = _recompiled(module, function, edits)
    try:
        yield
    finally:
        function.__code__ = before


def function_at(place: str) -> FunctionType:
    """The function of a place that is one, without its decorators."""
    module, _, path = place.partition(":")
    found: Any = reduce(getattr, path.split("."), import_module(module))
    if isinstance(found, property):
        found = found.fget
    function = inspect.unwrap(getattr(found, "__func__", getattr(found, "func", found)))
    assert isinstance(function, FunctionType), place
    return function


def _recompiled(module: ModuleType, function: FunctionType, edits: Sequence[Edit]) -> CodeType:
    """The code of a function whose source was edited, compiled where it stands so that its names mean the same."""
    lines = inspect.getsource(module).splitlines(keepends=True)
    own, first = inspect.getsourcelines(function)
    changed = reduce(lambda source, edit: edit.apply(source), edits, "".join(own))
    around = [*lines[: first - 1], changed, *lines[first - 1 + len(own) :]]
    code = compile("".join(around), f"<planted in {module.__name__}>", "exec")
    return _find(code, function.__qualname__)


def _find(code: CodeType, qualified_name: str) -> CodeType:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_qualname == qualified_name:
                return constant
            if qualified_name.startswith(f"{constant.co_qualname}."):
                return _find(constant, qualified_name)
    raise StaleEdit(
        f"{qualified_name} is not in its own module. Adapt the planted defect to the implementation."
    )


@contextmanager
def _set_item(owner: dict[str, str], key: str, edits: Sequence[Edit]) -> Iterator[None]:
    before = owner[key]
    owner[key] = reduce(lambda text, edit: edit.apply(text), edits, before)
    try:
        yield
    finally:
        owner[key] = before


@contextmanager
def _set(owner: ModuleType, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
