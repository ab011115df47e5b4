"""Small changes of Lua and SQL: conditions, comparisons, arithmetic, order, and calls or conditions that are left out.

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
    """One change: `before` in a line of a script or statement becomes `after`.

    `where` is as in `tests.planted.edits.Edit`; `line` and `column` count from 1; `text` is the whole changed text.
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
        return f"{self.where}:{self.line}:{self.column} {self.rule}: {self.before.strip()!r} -> {self.after.strip()!r}"


def mutants_of_lua(where: str, text: str) -> Iterator[Mutant]:
    """Every mutant of a script, in the order of its lines."""
    for number, line in enumerate(text.splitlines()):
        code = COMMENT.sub("", line)
        masked = STRING.sub(lambda found: "'" + "_" * (len(found[0]) - 2) + "'", code)
        for rule, start, end, new in _places(LUA, masked):
            yield _mutant(where, text, number, rule, line[start:end], new, start)
        for old, new in ORDER:
            if (start := code.find(old)) >= 0:
                yield _mutant(where, text, number, "order", old, new, start)


def mutants_of_sql(where: str, text: str) -> Iterator[Mutant]:
    """Every mutant of a statement, in the order of its lines."""
    for number, line in enumerate(text.splitlines()):
        for rule, start, end, new in _places(SQL, line):
            yield _mutant(where, text, number, rule, line[start:end], new, start)


def _places(rules: Mapping[str, Mapping[str, str]], line: str) -> Iterator[tuple[str, int, int, str]]:
    for rule, pairs in rules.items():
        for pattern, new in pairs.items():
            for found in re.finditer(pattern, line):
                yield rule, found.start(), found.end(), found.expand(new)


def _mutant(where: str, text: str, number: int, rule: str, before: str, after: str, start: int) -> Mutant:
    lines = text.splitlines(keepends=True)
    line = lines[number]
    lines[number] = line[:start] + after + line[start + len(before) :]
    return Mutant(
        where=where,
        line=number + 1,
        column=start + 1,
        rule=rule,
        before=before,
        after=after,
        text="".join(lines),
    )
