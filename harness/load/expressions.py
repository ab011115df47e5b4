"""Stages from a text such as "hold(20, '1m'), spike(200, '10s')", without running it as code."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from harness.errors import UsageError
from harness.load.stages import Stages, burst, diurnal, hold, ramp, repeat, replay, spike, steps
from harness.masking import masked

_STAGES: Mapping[str, Callable[..., Any]] = {
    one.__name__: one for one in (burst, diurnal, hold, ramp, repeat, replay, spike, steps)
}


def stages_of(text: str) -> Stages:
    """The stages of the text, which may have those of `harness.load` and no other code; raises `UsageError`."""
    try:
        found: Stages = _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError) as error:
        why = error.msg if isinstance(error, SyntaxError) else error
        raise UsageError(
            f"The load {masked(repr(text))} cannot be read ({why}); write for example \"hold(20, '1m')\"."
        ) from None
    return found


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name(id=name)) if name in _STAGES:
            named = {str(one.arg): _value(one.value) for one in node.keywords}
            return _STAGES[name](*map(_value, node.args), **named)
        case ast.List() | ast.Tuple():
            return list(map(_value, node.elts))
        case _:
            return _literal(node)


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{ast.unparse(node)} is no stage; choose one of {', '.join(_STAGES)}") from None
