"""What is mutated: the Lua scripts of the queue, the SQL of the activity store, and the functions of the protocol."""

from __future__ import annotations

import inspect
import pkgutil
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path

from agentexec.queue.redis_queue import SCRIPTS
from agentexec.store.changes import ActivityChange
from tests.mutants.mutate import Mutant, mutants_of_lua, mutants_of_sql
from tests.mutants.python_source import mutants_of_module

STORE = ("agentexec.store.statements", "agentexec.store.dead_letters")
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
PACKAGES = (
    "agentexec.queue",
    "agentexec.store",
    "agentexec.producer",
    "agentexec.worker",
    "harness.simulation.queue",
)


def mutants() -> Iterator[Mutant]:
    """Every mutant of every script, statement and function."""
    for name in ("common", *SCRIPTS):
        text = (files("agentexec.queue") / "lua" / f"{name}.lua").read_text("utf-8")
        yield from mutants_of_lua(f"lua/{name}.lua", text)
    for module in STORE:
        for name, value in vars(import_module(module)).items():
            text = value.sql if isinstance(value, ActivityChange) else value
            if name.isupper() and isinstance(text, str) and "{activity}" in text:
                yield from mutants_of_sql(f"{module}:{name}", text)
    for package in PACKAGES:
        for info in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
            yield from mutants_of_module(info.name, inspect.getsource(import_module(info.name)))


def equivalent() -> dict[str, str]:
    """The mutants that were read and found equivalent, with the reason of each."""
    read = tomllib.loads(EQUIVALENT.read_text("utf-8"))
    return {one["mutant"]: one["because"] for one in read.get("equivalent", ())}
