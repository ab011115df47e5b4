"""Judge a history: by a scenario, or by what the history itself carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any, NamedTuple

from harness.checkers.adapter import without_mistakes
from harness.checkers.asked import as_promised
from harness.checkers.base import Checker, CheckResult, Verdict, check_all
from harness.checkers.cancels import recorded_cancels
from harness.checkers.charges import recorded_charges
from harness.checkers.deadlocks import recorded_deadlocks
from harness.checkers.delays import recorded_delays
from harness.checkers.evictions import recorded_evictions
from harness.checkers.evidence import unreadable
from harness.checkers.invariants import recorded_invariants
from harness.checkers.keys import recorded_keys
from harness.checkers.lock_order import recorded_lock_order
from harness.checkers.orphans import recorded_orphans
from harness.checkers.protocol import protocol
from harness.checkers.results import recorded_results
from harness.checkers.retries import recorded_retries
from harness.checkers.settings import NotCarried, keeps_settings, made_again, recorded
from harness.errors import HarnessError
from harness.history import RUNNER, History, Operation, OperationType
from harness.history.names import CHECKERS
from harness.llm.costs_in_history import recorded_budget
from harness.run.asked_load import checker_of_load
from harness.run.usual import usual_checkers
from harness.scenario import Scenario
from harness.targets.base import Target


class JudgedHistory(NamedTuple):
    """The results for a history that was judged without a scenario; `note` says what could not be asked."""

    name: str
    summary: str
    results: Mapping[str, CheckResult]
    note: str | None


def judge(scenario: Scenario, history: History, target: Target | None = None) -> Mapping[str, CheckResult]:
    """The results of all checkers; a checker of the scenario replaces the workload's checker of the same name.

    A target with a method `checkers` adds its own, such as the invariants of an application. Without the application,
    an invariant that the history names is judged by its recorded answer.
    A checker that asks for what the target does not promise is NOT ASKED. What a mistake of the adapter explains is
    UNKNOWN.
    A history with unreadable lines never produces INVALID, only UNKNOWN: such a line may be the evidence
    that a checker misses.
    """
    return _judged(checkers_of(scenario), history, target)


def judge_alone(history: History, target: Target | None = None) -> JudgedHistory:
    """Judge a history with the checkers that it carries; with the usual ones if it carries none."""
    carried = next(history.where(CHECKERS), None)
    if carried is None or not _names_checkers(carried.value):
        try:
            checkers, left_out = usual_checkers(history)
        except ValueError as error:
            checkers, left_out = {"usual": _unjudged(f"the usual checkers cannot be chosen: {error}")}, []
        note = "the history does not carry the checkers of its run, so the usual ones are asked"
        note += f", without {_listed(left_out)}" if left_out else ""
        return JudgedHistory("", "A history without a scenario.", _judged(checkers, history, target), note)
    checkers, missing = carried_checkers(carried.value)
    name = str(carried.value.get("scenario") or "")
    absent = None
    if missing:
        absent = f"not asked, as no history can carry such a checker: {_listed(missing)}"
        absent += "; --scenario NAME asks the checkers of a scenario" if name else ""
    summary = str(carried.value.get("summary", ""))
    return JudgedHistory(name, summary, _judged(checkers, history, target), absent)


def judge_export(history: History) -> JudgedHistory:
    """Judge the rows of a production system (`harness.history.export`) by the model of the protocol."""
    result = check_all({"protocol": protocol(attempts=True)}, history)["protocol"]
    # The numbers of tasks are those of the reader, and there are no operations beside the rows.
    examples = (
        {k: v for k, v in one.items() if k not in ("task", "operations")} for one in result.counterexamples
    )
    note = (
        "an export holds no submissions, runs or faults, so only its log and its activities were compared with the "
        "model of the protocol"
    )
    results = {"protocol": replace(result, counterexamples=tuple(examples))}
    return JudgedHistory("", "Rows of a production system.", results, note)


def checkers_of(scenario: Scenario) -> dict[str, Checker]:
    """The checkers of a scenario and of its workload, by name."""
    return {**scenario.workload.checkers(), **scenario.checkers}


def checkers_operation(
    checkers: Mapping[str, Checker],
    *,
    time: int,
    scenario: str,
    summary: str,
    found: Mapping[str, CheckResult] | None = None,
) -> Operation:
    """The operation with which a history carries its checkers.

    `found` are results that only the run itself could reach. A checker that cannot be carried is recorded by its name.
    """
    settings: dict[str, Any] = {}
    for name, checker in checkers.items():
        try:
            settings[name] = recorded(checker)
        except NotCarried:
            settings[name] = None
    for name, result in (found or {}).items():
        settings[name] = recorded(found_by_the_run(str(result.verdict), result.summary))
    value = {"scenario": scenario, "summary": summary, "checkers": settings}
    return Operation(time=time, process=RUNNER, type=OperationType.INFO, f=CHECKERS, value=value)


@keeps_settings
def found_by_the_run(verdict: str, summary: str) -> Checker:
    """A result that the run itself reached, from what its history does not hold."""
    return lambda _: CheckResult(verdict=Verdict(verdict), summary=f"{summary} (as the run itself found)")


def carried_checkers(value: Mapping[str, Any]) -> tuple[dict[str, Checker], list[str]]:
    """The checkers that a history carries, by name, and the names of those that it cannot carry.

    One that this installation cannot make again, as that of a later version, is UNKNOWN: the run asked it.
    """
    found, missing = {}, []
    for name, one in value["checkers"].items():
        if one is None:
            missing.append(str(name))
            continue
        try:
            found[str(name)] = _made_again(one)
        except NotCarried as error:
            why = f"the run asked it, but {error}; judge with the version that recorded the history"
            found[str(name)] = _unjudged(why)
    return found, missing


def _names_checkers(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("checkers"), Mapping) and bool(value["checkers"])


def _unjudged(why: str) -> Checker:
    return lambda _: CheckResult(verdict=Verdict.UNKNOWN, summary=why)


def _made_again(value: Any) -> Checker:
    if not isinstance(value, Mapping):
        raise NotCarried(f"{value!r} describes no checker")
    try:
        made: Checker = made_again(value)
    except NotCarried:
        try:
            import_module("harness.simulation.outcomes")  # more checkers, which need the reference
        except (ImportError, HarnessError):
            raise NotCarried("this installation lacks the simulation") from None
        made = made_again(value)
    return made


def _judged(
    checkers: Mapping[str, Checker], history: History, target: Target | None
) -> Mapping[str, CheckResult]:
    own: Callable[[], Mapping[str, Checker]] = getattr(target, "checkers", dict)
    every = {**_recorded(history), **checkers, **own()}
    results = without_mistakes(as_promised(check_all(every, history), history), history)
    gaps = _gaps(history)
    return {name: result.doubted(f"since {gaps[0]}") for name, result in results.items()} if gaps else results


def _gaps(history: History) -> list[str]:
    try:
        return unreadable(history)
    except ValueError as error:  # a fault that cannot be read may be what a checker misses
        return [str(error)]


def _recorded(history: History) -> dict[str, Checker]:
    """The checkers of what the history holds; UNKNOWN for what cannot be read."""
    found: dict[str, Checker] = {}
    for name, checkers in _OF_WHAT_IS_RECORDED.items():
        try:
            found |= checkers(history)
        except ValueError as error:
            found[name] = _unjudged(str(error))
    return found


_OF_WHAT_IS_RECORDED: Mapping[str, Callable[[History], Mapping[str, Checker]]] = {
    "invariants": recorded_invariants,
    "deadlocks": recorded_deadlocks,
    "evictions": recorded_evictions,
    "load": checker_of_load,
    "costs": recorded_budget,
    "results": recorded_results,
    "delays": recorded_delays,
    "charges": recorded_charges,
    "keys": recorded_keys,
    "lock_order": recorded_lock_order,
    "orphans": recorded_orphans,
    "cancels": recorded_cancels,
    "retries": recorded_retries,
}


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
