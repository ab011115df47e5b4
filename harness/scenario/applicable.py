"""Which faults of a scenario can strike a target: those of its services, its handlers, its producer and this machine.

A fault of a server that the target does not use has no victim, and its run could show nothing. In the same way, only
those features of tasks are used that the target has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from harness.environments.base import LEADS_TO, SERVICES, Service
from harness.errors import UsageError
from harness.faults.base import Fault
from harness.history.figures import counted
from harness.scenario.scenario import Scenario
from harness.targets.base import Target, TaskFeature
from harness.targets.producers import why_no_producer
from harness.workloads.base import FeaturedWorkload


def why_left_out(scenario: Scenario, target: Target) -> str | None:
    """Why no fault of the scenario can strike the target, as in `strikes redis, and x needs postgres`; else None.

    Also if the tasks of the scenario differ by features of which the target has none.
    """
    faults, workload = scenario.faults, scenario.workload
    if faults and not _striking(faults, target):
        return _why(faults, target)
    if isinstance(workload, FeaturedWorkload) and not _shared(workload, target):
        return _why_without(workload.features, target)
    return None


def for_target(scenario: Scenario, target: Target) -> tuple[Scenario, str | None]:
    """The scenario with those faults and features that the target can have, and a note if others are left out.

    Raises `UsageError` if it can have none.
    """
    if (why := why_left_out(scenario, target)) is not None:
        raise UsageError(f"{scenario.name} {why}. Choose another scenario.")
    scenario, without = _with_features(scenario, target)
    faults, kept = scenario.faults, _striking(scenario.faults, target)
    if len(kept) == len(faults):
        return scenario, without
    left_out = [fault for fault in faults if fault not in kept]
    count = f"{len(left_out)} of {counted(len(faults), 'fault', 'are')}"
    note = f"{count} left out: {scenario.name} {_why(left_out, target)}"
    return replace(scenario, faults=kept), "; ".join(filter(None, (note, without)))


def _with_features(scenario: Scenario, target: Target) -> tuple[Scenario, str | None]:
    """The scenario with the features of tasks that the target has, and a note if it lacks others."""
    workload = scenario.workload
    if not isinstance(workload, FeaturedWorkload):
        return scenario, None
    shared = _shared(workload, target)
    if lacking := [one for one in workload.features if one not in shared]:
        note = f"{scenario.name} {_why_without(lacking, target)}"
        return replace(scenario, workload=workload.with_features(shared)), note
    return scenario, None


def _shared(workload: FeaturedWorkload, target: Target) -> Sequence[TaskFeature]:
    known: Collection[TaskFeature] = getattr(target, "features", ())
    return [one for one in workload.features if one in known]


def _why_without(features: Sequence[TaskFeature], target: Target) -> str:
    listed = " and ".join(features)
    return f"asks tasks for {listed}, which `features` of {target.name} does not have"


def services_of(target: Target) -> Sequence[Service]:
    """The services that the target uses; Postgres and Redis if it does not say."""
    found: Sequence[Service] = getattr(target, "services", getattr(target, "needs", SERVICES))
    return found


def _striking(faults: Sequence[Fault], target: Target) -> tuple[Fault, ...]:
    return tuple(fault for fault in faults if not any(lack(fault, target) for lack in _LACKS))


def _service(fault: Fault, target: Target) -> Service | None:
    """The service that a fault strikes, if the target does not use it."""
    service: Service | None = getattr(fault, "service", None)
    if service is not None:
        service = LEADS_TO.get(service, service)
    return service if service not in services_of(target) else None


def _action(fault: Fault, target: Target) -> str | None:
    """What a handler has to do for a fault, if those of the target cannot do it."""
    action: str | None = getattr(fault, "action", None)
    can: Collection[str] | None = getattr(target, "actions", None)
    return action if can is not None and action not in can else None


def _producer(fault: Fault, target: Target) -> str | None:
    """Why no producer of the target can be killed, if the fault kills one."""
    return why_no_producer(target) if getattr(fault, "of_producer", False) else None


def _machine(fault: Fault, target: Target) -> str | None:
    """Why this machine cannot have the fault."""
    del target
    unmet: Callable[[], str | None] | None = getattr(fault, "unmet", None)
    return None if unmet is None else unmet()


_LACKS = (_service, _action, _producer, _machine)


def _why(faults: Sequence[Fault], target: Target) -> str:
    services = dict.fromkeys(service for fault in faults if (service := _service(fault, target)))
    actions = dict.fromkeys(action for fault in faults if (action := _action(fault, target)))
    parts = []
    if services:
        needed = " and ".join(services_of(target)) or "no service"
        parts.append(f"strikes {' and '.join(services)}, and {target.name} needs {needed}")
    if actions:
        listed = " and ".join(actions)
        parts.append(f"asks handlers for {listed}, which `actions` of {target.name} does not have")
    for what, lack in (("kills a producer", _producer), ("limits memory", _machine)):
        parts += [f"{what}, but {why}" for why in dict.fromkeys(lack(one, target) for one in faults) if why]
    return "; it ".join(parts)
