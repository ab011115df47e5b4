"""Small changes of Lua and SQL: conditions, comparisons, arithmetic, order, and calls or conditions that are left out.

`tests.mutants.python_source` has those of Python.

Each rule is a pattern and its replacement. Strings and comments of Lua stay as they are, except the names of commands
whose order matters. No rule makes a text that cannot be read, so a mutant that a means detects is one that ran.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

STRING = re.compile(r"'[^']*'")
COMMENT = re.compile(r"--.*")
CALL = r"(?:redis\.call|send|wake|revoke|admit|remove|dead_letter|leave_partition|free_partition|clear|note_death"
CALL += r"|share_death|forget_worker|table\.insert|write_waiting|claim)"

LUA: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "comparison": {
            " == ": " ~= ",
            " ~= ": " == ",
            " < ": " <= ",
            " > ": " >= ",
            " <= ": " < ",
            " >= ": " > ",
        },
        "logic": {
            r"\band\b": "or",
            r"\bor\b": "and",
            r"\bnot ": "",
            r"\btrue\b": "false",
            r"\bfalse\b": "true",
        },
        "number": {r" \+ 1\b": ""},
        "arithmetic": {
            r" \+ ": " - ",
            r"(?<=\w) - ": " + ",
            r" \* ": " / ",
            r"\bmax\(": "min(",
            r"\bmin\(": "max(",
        },
        "always": {r"\bif (?!true\b|false\b).+? then": "if true then"},
        "never": {r"\bif (?!true\b|false\b).+? then": "if false then"},
        "call left out": {rf"^\s+{CALL}\(.*\)$": ""},
    }
)
# In strings: the end of a list at which a task enters or leaves, and options of commands.
ORDER = (
    ("'RPUSH'", "'LPUSH'"),
    ("'LPUSH'", "'RPUSH'"),
    ("'LPOP'", "'RPOP'"),
    ("'-inf', ms", "'-inf', '+inf'"),
)

TERM = r" AND (?:NOT )?[\w.]+(?: (?:=|<|<=|<>) [\w.]+| IS (?:NOT )?NULL| \{\w+\})"
SQL: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "condition left out": {TERM: "", r" AND v\.id = a\.id": ""},
        "exists": {r" AND NOT EXISTS \(": " AND EXISTS ("},
        "comparison": {r" < (?=v\.|a\.)": " <= ", r" <= (?=:|\{)": " < ", r"(?<=fence) = (?=v\.)": " <= "},
        "logic": {" IS NOT NULL": " IS NULL", " IS NULL": " IS NOT NULL", r" OR (?=a\.|v\.)": " AND "},
        "arithmetic": {r"\+ CASE": "- CASE", "THEN 1 ELSE 0": "THEN 0 ELSE 1"},
        "assignment left out": {
            r", (?:fence|holder|error|result|run_after|dispatched_at) = [\w.{}]+(?=[,\s])": ""
        },
        "status": {
            "THEN 'canceled'": "THEN 'error'",
            r"ELSE v\.status": "ELSE 'queued'",
            r"\{sources\}": "{pending}",
        },
        "order": {r" ORDER BY (\w+) DESC": r" ORDER BY \1", " ORDER BY id LIMIT": " ORDER BY id DESC LIMIT"},
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutant:
    """One change: `before` in a script, a statement or a function becomes `after`.

    `where` is as in `tests.planted.edits.Edit`; `line` and `column` count from 1 in its text; `text` is the whole
    changed text.
    """

    where: str
    line: int
    column: int
    rule: str
    before: str
    after: str
    text: str

    @property
    def name(self) -> str:
        """How a report names it."""
        change = f"{self.before.strip()!r} -> {self.after.strip()!r}"
        return f"{self.where}:{self.line}:{self.column} {self.rule}: {change}"

    @property
    def part(self) -> str:
        """What of the protocol it changes: `Lua`, `SQL`, or the package of the function."""
        if self.where.startswith("lua/"):
            return "Lua"
        module, _, name = self.where.partition(":")
        return (
            "SQL"
            if name.isupper()
            else "memory queue"
            if module.startswith("harness.")
            else module.split(".")[1]
        )


def mutants_of_lua(where: str, text: str) -> Iterator[Mutant]:
    """Every mutant of a script, in the order of its lines."""
    for start, line in _lines(text):
        code = COMMENT.sub("", line)
        masked = STRING.sub(lambda found: "'" + "_" * (len(found[0]) - 2) + "'", code)
        for rule, first, last, new in places(LUA, masked):
            yield mutant(where, text, rule, start + first, start + last, new)
        for old, new in ORDER:
            if (first := code.find(old)) >= 0:
                yield mutant(where, text, "order", start + first, start + first + len(old), new)


def mutants_of_sql(where: str, text: str) -> Iterator[Mutant]:
    """Every mutant of a statement, in the order of its lines."""
    for start, line in _lines(text):
        for rule, first, last, new in places(SQL, line):
            yield mutant(where, text, rule, start + first, start + last, new)


def places(rules: Mapping[str, Mapping[str, str]], line: str) -> Iterator[tuple[str, int, int, str]]:
    """Where the rules apply in a line: the rule, from where to where, and the new text."""
    for rule, pairs in rules.items():
        for pattern, new in pairs.items():
            for found in re.finditer(pattern, line):
                yield rule, found.start(), found.end(), found.expand(new)


def mutant(where: str, text: str, rule: str, start: int, end: int, new: str) -> Mutant:
    """The change of `text` from `start` to `end`."""
    return Mutant(
        where=where,
        line=text.count("\n", 0, start) + 1,
        column=start - text.rfind("\n", 0, start),
        rule=rule,
        before=text[start:end],
        after=new,
        text=text[:start] + new + text[end:],
    )


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a text, each with the offset at which it begins."""
    start = 0
    for line in text.splitlines(keepends=True):
        yield start, line.rstrip("\n")
        start += len(line)
