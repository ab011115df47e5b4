"""Small changes of Python functions: conditions, comparisons, arithmetic, order, and calls that are left out.

The generator of mutmut is not used: it leaves no statement out and changes no order, and most of what it changes, texts
and arguments, is detected by any test that runs the line. Its interface is internal, too.

No rule changes an annotation, a docstring, a log entry, an exception or a default of a parameter. The texts of
statements in functions have the rules of SQL.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

from tests.mutants.mutate import SQL, Mutant, mutant, places

OPERATORS: Mapping[type[ast.AST], tuple[str, str]] = MappingProxyType(
    {
        ast.Eq: ("==", "!="),
        ast.NotEq: ("!=", "=="),
        ast.Lt: ("<", "<="),
        ast.LtE: ("<=", "<"),
        ast.Gt: (">", ">="),
        ast.GtE: (">=", ">"),
        ast.Is: ("is", "is not"),
        ast.IsNot: ("is not", "is"),
        ast.In: ("in", "not in"),
        ast.NotIn: ("not in", "in"),  # codespell:ignore notin
        ast.And: ("and", "or"),
        ast.Or: ("or", "and"),
        ast.Add: ("+", "-"),
        ast.Sub: ("-", "+"),
        ast.Mult: ("*", "/"),
        ast.Div: ("/", "*"),
        ast.FloorDiv: ("//", "*"),
        ast.Mod: ("%", "+"),
        ast.BitOr: ("|", "&"),
        ast.BitAnd: ("&", "|"),
    }
)
NAMES = {"max": "min", "min": "max", "any": "all", "all": "any"}
CONSTANTS = {"True": "False", "False": "True", "0": "1", "1": "0"}
LOGGERS = ("logger", "_logger", "logging", "warnings")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Place = tuple[str, int, int, str]  # the rule, from where to where in the text, and the new text


def mutants_of_module(module: str, text: str) -> Iterator[Mutant]:
    """Every mutant of the functions and methods of a module, in the order of its lines."""
    for name, node in _functions(text):
        source = FunctionSource(text, node)
        for place in source.places():
            yield mutant(f"{module}:{name}", source.text, *place)


def _functions(text: str) -> list[tuple[str, Function]]:
    """All functions by their qualified names; not those inside of others, and none whose name is not its own."""

    def inside(body: Iterable[ast.stmt], prefix: str) -> Iterator[tuple[str, Function]]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from inside(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, Function):
                yield f"{prefix}{node.name}", node

    found = list(inside(ast.parse(text).body, ""))
    names = [name for name, _ in found]
    return [(name, node) for name, node in found if names.count(name) == 1]


class FunctionSource:
    """The text of a function with its decorators, as `inspect.getsource` returns it, and where it may be changed."""

    def __init__(self, module: str, node: Function) -> None:
        self._node = node
        self._first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        self._lines = module.splitlines(keepends=True)[self._first - 1 : node.end_lineno]
        self.text = "".join(self._lines)

    def places(self) -> Iterator[Place]:
        """Every place with a rule that applies to it."""
        for node in _walk(self._node.body):
            for rule in RULES:
                yield from rule(self, node)

    def at(self, first: ast.expr | ast.stmt, last: ast.expr | ast.stmt | None = None) -> tuple[int, int]:
        """From where to where in the text a node is, or several are."""
        end = last or first
        assert end.end_lineno is not None
        assert end.end_col_offset is not None
        return self._offset(first.lineno, first.col_offset), self._offset(end.end_lineno, end.end_col_offset)

    def of(self, node: ast.expr | ast.stmt) -> str:
        """The text of a node."""
        return self.text[slice(*self.at(node))]

    def between(
        self, left: ast.expr, right: ast.expr, operator: ast.AST, suffix: str = ""
    ) -> tuple[int, int, str]:
        """Where the operator between two operands is, and its replacement."""
        old, new = OPERATORS[type(operator)]
        start = self.text.rindex(old + suffix, self.at(left)[1], self.at(right)[0])
        return start, start + len(old), new

    def _offset(self, line: int, column: int) -> int:
        """`column` counts bytes, as in `ast`."""
        index = line - self._first
        return sum(map(len, self._lines[:index])) + len(self._lines[index].encode()[:column].decode())


def _walk(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes at which something may be changed."""
    for node in nodes:
        # `strict` of a `zip` over lists of one length changes nothing.
        if (
            isinstance(node, ast.Assert | ast.arguments)
            or _is_text(node)
            or getattr(node, "arg", "") == "strict"
        ):
            continue
        yield node
        match node:
            # The places of what is inside of such a text are wrong before Python 3.12.
            case ast.JoinedStr() | ast.Raise():
                continue
            case ast.AnnAssign():
                yield from _walk([node.value] if node.value else [])
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _walk(node.body)
            case _:
                yield from _walk(ast.iter_child_nodes(node))


def _is_text(node: ast.AST) -> bool:
    """Whether it is a docstring, or writes a log entry or a warning."""
    if not isinstance(node, ast.Expr):
        return False
    called = node.value.func if isinstance(node.value, ast.Call) else node.value
    owner = called.value if isinstance(called, ast.Attribute) else called
    return isinstance(called, ast.Constant) or (isinstance(owner, ast.Name) and owner.id in LOGGERS)


def _comparison(source: FunctionSource, node: ast.AST) -> Iterator[Place]:
    if isinstance(node, ast.Compare):
        for (left, right), operator in zip(pairwise([node.left, *node.comparators]), node.ops, strict=True):
            yield "comparison", *source.between(left, right, operator)


def _logic(source: FunctionSource, node: ast.AST) -> Iterator[Place]:
    if isinstance(node, ast.BoolOp):
        for left, right in pairwise(node.values):
            yield "logic", *source.between(left, right, node.op)
        word, _ = OPERATORS[type(node.op)]
        for values in (node.values[:-1], node.values[1:]):
            kept = f" {word} ".join(f"({source.of(value)})" for value in values)
            yield "condition left out", *source.at(node), f"({kept})"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "logic", *source.at(node), f"({source.of(node.operand)})"


def _arithmetic(source: FunctionSource, node: ast.AST) -> Iterator[Place]:
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield "arithmetic", *source.between(node.left, node.right, node.op)
    if isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
        yield "arithmetic", *source.between(node.target, node.value, node.op, "=")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES:
        yield "arithmetic", *source.at(node.func), NAMES[node.func.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and repr(node.value) in CONSTANTS:
        yield "constant", *source.at(node), CONSTANTS[repr(node.value)]


def _condition(source: FunctionSource, node: ast.AST) -> Iterator[Place]:
    tests: Sequence[ast.expr] = ()
    match node:
        case ast.If() | ast.IfExp() | ast.While():
            tests = () if isinstance(node.test, ast.Constant) else (node.test,)
        case ast.comprehension():
            tests = node.ifs
    for test in tests:
        if not isinstance(node, ast.While):  # which would be endless
            yield "always", *source.at(test), "True"
        yield "never", *source.at(test), "False"


def _left_out(source: FunctionSource, node: ast.AST) -> Iterator[Place]:
    if isinstance(node, ast.Break | ast.Continue | ast.Raise) or (
        isinstance(node, ast.stmt) and _has_effect(node)
    ):
        yield "statement left out", *source.at(node), "pass"
    if isinstance(node, ast.ExceptHandler) and not isinstance(node.body[0], ast.Raise):
        yield "handler left out", *source.at(node.body[0], node.body[-1]), "raise"
    if isinstance(node, ast.Return) and node.value and not isinstance(node.value, ast.Constant):
        yield "returned value", *source.at(node.value), "None"


def _order(source: FunctionSource, node: ast.AST) -> Iterator[Place]:
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, ())
        for one, other in pairwise(block if isinstance(block, list) else ()):
            if _has_effect(one) and _has_effect(other):
                (start, middle), (again, end) = source.at(one), source.at(other)
                yield "order", start, end, source.of(other) + source.text[middle:again] + source.of(one)


def _sql(source: FunctionSource, node: ast.AST) -> Iterator[Place]:
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        start, end = source.at(node)
        if " WHERE " in source.text[start:end]:
            for rule, first, last, new in places(SQL, source.text[start:end]):
                yield rule, start + first, start + last, new


RULES: Sequence[Callable[[FunctionSource, ast.AST], Iterator[Place]]] = (
    _comparison,
    _logic,
    _arithmetic,
    _condition,
    _left_out,
    _order,
    _sql,
)


def _has_effect(node: ast.AST) -> bool:
    """Whether a statement can be left out: it does something other than give a name to a value."""
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super"))))):
            return False  # a function without it is another kind of closure, and cannot take the place of this one
        case ast.Expr():
            return not _is_text(node) and not isinstance(node.value, ast.Yield | ast.YieldFrom)
        case ast.Assign():
            targets = [part for target in node.targets for part in getattr(target, "elts", [target])]
            return any(isinstance(target, ast.Attribute | ast.Subscript) for target in targets)
        case _:
            return isinstance(node, ast.AugAssign | ast.Delete)
