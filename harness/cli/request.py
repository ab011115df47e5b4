"""The request of `harness chaos run`, validated in full before anything is started."""

from __future__ import annotations

import os
import secrets
import shlex
from argparse import Namespace
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harness.cli.called import called_as
from harness.cli.cost_options import cost_words, metering_of
from harness.cli.load_options import load_words, planned_load
from harness.command_line import flag, number_word
from harness.environments import make_environment
from harness.environments.base import Environment, Topology
from harness.environments.topologies import make_topology
from harness.environments.urls import checked_url, database_name, has_password
from harness.errors import UsageError
from harness.faults.kill_command import KillHook
from harness.run.runner import RunOptions
from harness.scenario import SOAK, Scenario, registry
from harness.scenario.applicable import why_left_out
from harness.scenario.run_plan import RunPlan, require_time, with_workload
from harness.scenario.schedule import kept_faults
from harness.scenario.topologies import why_no_topology
from harness.scenario.watching import on_user_workers
from harness.targets.base import Target
from harness.targets.reference import require_reference

# Options that a repeated run needs, in the order in which they are printed.
_REPEATED = (
    *("postgres_bin", "redis_server", "postgres_image", "redis_image"),
    *("allow_destructive", "database_url", "redis_url", "queue", "kill_command", "kill_victims"),
)

_OF_WATCHING = ("watch", "read_only", "queue", "kill_command", "kill_victims")

LeftOut = tuple[tuple[Scenario, str], ...]


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A run of scenarios. `options` are the parsed arguments; `session` makes the names of queues unique.

    `asked` are the options of each of its runs. `left_out` are scenarios of `--all` or `--tag` that cannot strike the
    target, or whose servers it cannot have, with the reason.
    """

    options: Namespace
    scenarios: tuple[Scenario, ...]
    left_out: LeftOut
    plans: tuple[RunPlan, ...]
    asked: RunOptions
    target: Target
    seed: int
    report: Path
    session: str

    @classmethod
    def of(cls, options: Namespace) -> RunRequest:
        """Validate the arguments and choose the seed; raises `UsageError`."""
        target = _target(options)
        scenarios, left_out = _divided(_chosen(options), target, options)
        if any(getattr(options, name) for name in _OF_WATCHING):
            target, scenarios, left_out = _watching(options, target, scenarios, left_out)
        if options.workload is not None:
            workload = registry.workload(options.workload)
            scenarios = tuple(with_workload(scenario, workload) for scenario in scenarios)
        if options.faults is not None:
            if len(scenarios) > 1:
                raise UsageError("--faults names faults of one scenario. Name one scenario.")
            kept_faults(scenarios[0].faults, options.faults)
        _refuse_stray_options(options)
        if options.backend == "external":
            _require_permission(scenarios, options)
        seed = secrets.randbelow(2**32) if options.seed is None else options.seed
        metering = metering_of(options)
        load = planned_load(options, seed, metering, target, scenarios)
        asked = RunOptions(
            seed=seed,
            tasks=options.tasks,
            rate=options.rate,
            timeout=options.timeout,
            stall=options.patience,
            load=load,
            metering=metering,
            faults=options.faults,
            target_name=options.target or "agentexec" if options.app is None else None,
        )
        plans = tuple(asked.plan(scenario, target) for scenario in scenarios)
        require_time(plans)
        session = secrets.token_hex(4)
        stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
        return cls(
            options=options,
            scenarios=scenarios,
            left_out=left_out,
            plans=plans,
            asked=asked,
            target=target,
            seed=seed,
            report=options.report or _new_folder(Path("reports") / f"{stamp}-{seed}", session),
            session=session,
        )

    def repeat(self, scenarios: Sequence[Scenario]) -> str:
        """The command that runs these scenarios again, as this run was called.

        A URL with a password is left out: the command then needs the variable of the same name.
        """
        command = called_as(["chaos", "run"], getattr(self.options, "given", None))
        return shlex.join([*command, *self.arguments(scenarios)])

    def arguments(self, scenarios: Sequence[Scenario], faults: Collection[int] | None = None) -> list[str]:
        """The arguments of the command that runs these scenarios again, with only these of their faults."""
        options = self.options
        named = options.scenarios or [scenario.name for scenario in scenarios]
        chosen = list(dict.fromkeys(named)) if len(scenarios) > 1 else [_name(scenarios[0], named)]
        words = [*chosen, "--seed", str(self.seed)]
        words += load_words(options) or self._tasks_words(scenarios)
        kept = self.asked.faults if faults is None else faults
        if kept is not None:
            words += ["--faults", ",".join(map(str, sorted(kept))) or "none"]
        for name in ("rate", "timeout", "patience"):
            if (number := getattr(options, name)) is not None:
                words += [f"--{name}", number_word(number)]
        words += [*cost_words(options), "--backend", options.backend]
        words += [flag(name) for name in ("watch", "read_only") if getattr(options, name)]
        for name in ("target", "app", "workload"):
            if getattr(options, name) not in (None, "agentexec"):
                words += [f"--{name}", getattr(options, name)]
        for name in _REPEATED:
            if (value := getattr(options, name)) is not None and not has_password(str(value)):
                words += [flag(name), str(value)]
        return words

    def _tasks_words(self, scenarios: Sequence[Scenario]) -> list[str]:
        """How many tasks are submitted, unless each scenario decides it in its own way."""
        numbers = {self.asked.tasks or scenario.tasks for scenario in scenarios}
        return ["--tasks", str(*numbers)] if len(numbers) == 1 else []


def _new_folder(folder: Path, session: str) -> Path:
    """The folder, or one of the session if another run of the same second and seed has it."""
    return folder.with_name(f"{folder.name}-{session}") if folder.exists() else folder


def _target(options: Namespace) -> Target:
    registry.require_own_package()
    if options.app is None:
        return registry.target(options.target or "agentexec")
    if options.target is not None:
        raise UsageError("--target and --app both name what is tested. Give one.")
    return registry.application(options.app)


def _name(scenario: Scenario, named: Sequence[str]) -> str:
    """The name by which the scenario was requested: its own name or an import path."""
    paths = (name for name in named if ":" in name and registry.scenario(name).name == scenario.name)
    return next(paths, scenario.name)


def _chosen(options: Namespace) -> tuple[Scenario, ...]:
    """The scenarios that are named, all of a tag, or all but those that run for long."""
    names, tag = options.scenarios, options.tag
    ways = [way for way, given in (("names", names), ("--all", options.all), ("--tag", tag)) if given]
    if len(ways) > 1:
        raise UsageError(f"{' and '.join(ways)} each choose scenarios. Give one of them.")
    if names:
        return tuple(registry.scenario(name) for name in dict.fromkeys(names))
    known = registry.scenarios()
    if not ways:
        raise UsageError(
            f"No scenario is named. Name one or more of {', '.join(known)}, or give --tag or --all."
        )
    chosen = tuple(one for one in known.values() if (tag in one.tags if tag else SOAK not in one.tags))
    if not chosen:
        tags = sorted({tag for one in known.values() for tag in one.tags})
        raise UsageError(f"No scenario has the tag {tag!r}. Choose from {', '.join(tags)}.")
    return chosen


def _divided(
    chosen: Sequence[Scenario], target: Target, options: Namespace
) -> tuple[tuple[Scenario, ...], LeftOut]:
    """Those that can strike the target and have their servers, and the others with the reason; a named one is refused.

    Raises `UsageError` also if none is left.
    """
    whys = [
        (one, why_left_out(one, target) or why_no_topology(one, options.backend, target)) for one in chosen
    ]
    left_out = tuple((one, why) for one, why in whys if why is not None)
    if left_out and options.scenarios:
        first, why = left_out[0]
        raise UsageError(f"{first.name} {why}. Choose another scenario.")
    if len(left_out) == len(chosen):
        first, why = left_out[0]
        raise UsageError(
            f"No scenario can run on {target.name}: {first.name} {why}. Choose others, or correct what is missing."
        )
    return tuple(one for one, why in whys if why is None), left_out


def _watching(
    options: Namespace, target: Target, scenarios: tuple[Scenario, ...], left_out: LeftOut
) -> tuple[Target, tuple[Scenario, ...], LeftOut]:
    """The target and the scenarios on the workers of the user; raises `UsageError`."""
    if options.backend != "external" or not options.watch or not options.queue:
        raise UsageError(
            "--read-only, --queue, --kill-command and --kill-victims are for workers of your own: "
            "give --backend external --watch --queue NAME with them."
        )
    if options.kill_victims and not options.kill_command:
        raise UsageError("--kill-victims lists what --kill-command kills. Give both.")
    hook = KillHook.of(options.kill_command, options.kill_victims) if options.kill_command else None
    made = [(one, on_user_workers(one, hook, read_only=options.read_only)) for one in scenarios]
    kept = tuple(changed for _, changed in made if changed is not None)
    why = "needs pools that the harness starts" + ("" if hook else ", or --kill-command")
    lost = tuple((one, why) for one, changed in made if changed is None)
    if lost and (options.scenarios or not kept):
        raise UsageError(f"{lost[0][0].name} {why}. Choose another scenario, such as watch.")
    return _watched(target, options), kept, (*left_out, *lost)


def _watched(target: Target, options: Namespace) -> Target:
    require_reference("--watch")
    # Here, because it imports the reference, which the harness does not need.
    from harness.testing.watched import observed, watched

    if not options.read_only:
        return watched(target, options.queue)
    if options.workload or options.load:
        raise UsageError(
            "--read-only submits no tasks, so it has no --workload and no --load. Leave them out."
        )
    return observed(target, options.queue)


_SERVER_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "embedded": ("postgres_bin", "redis_server"),
    "containers": ("postgres_image", "redis_image"),
    "external": ("database_url", "redis_url", "allow_destructive"),
}


def _refuse_stray_options(options: Namespace) -> None:
    """Raise `UsageError` for an option of another backend, which would have no effect."""
    for backend, names in _SERVER_OPTIONS.items():
        for name in names:
            if backend != options.backend and getattr(options, name) is not None:
                raise UsageError(
                    f"{flag(name)} has no meaning with --backend {options.backend}. "
                    f"Leave it out, or choose --backend {backend}."
                )


def _urls(options: Namespace) -> dict[str, str]:
    given = {
        "database_url": options.database_url or os.environ.get("HARNESS_DATABASE_URL"),
        "redis_url": options.redis_url or os.environ.get("HARNESS_REDIS_URL"),
    }
    for name, value in given.items():
        if not value:
            raise UsageError(
                f"The external backend needs the URLs of its servers: give --{name.replace('_', '-')} URL, "
                f"or set HARNESS_{name.upper()}."
            )
    return {
        "database_url": checked_url("postgres", given["database_url"] or "", option="--database-url"),
        "redis_url": checked_url("redis", given["redis_url"] or "", option="--redis-url"),
    }


def _require_permission(scenarios: Sequence[Scenario], options: Namespace) -> None:
    """Raise `UsageError` for scenarios that may not run on these external servers.

    A destructive scenario must be named, and its database must be named by --allow-destructive. A scenario that
    affects whole servers never runs on external ones.
    """
    destructive = [scenario.name for scenario in scenarios if scenario.destructive]
    database = database_name(_urls(options)["database_url"])
    owning = [scenario.name for scenario in scenarios if scenario.own_servers and options.scenarios]
    if owning:
        raise UsageError(
            f"{', '.join(owning)} would freeze or empty whole servers, with all other data on them. "
            "Run it with --backend embedded or containers."
        )
    if not destructive:
        return
    if not options.scenarios:
        raise UsageError(
            f"{'--all' if options.all else '--tag'} would run destructive scenarios ({', '.join(destructive)}) "
            "against external servers. Name each scenario that you want to run."
        )
    if options.allow_destructive != database:
        raise UsageError(
            f"{', '.join(destructive)} would be destructive to the external database {database!r}. "
            f"To allow this, add --allow-destructive {shlex.quote(database)}."
        )


def environment_of(
    options: Namespace, target: object = None, topology: Topology | None = None
) -> Environment:
    """The requested environment with the services that the target needs, not started; raises `UsageError`."""
    needs = getattr(target, "needs", ())
    if topology is not None:
        return make_topology(
            topology,
            backend=options.backend,
            postgres_bin=options.postgres_bin,
            redis_server=options.redis_server,
            postgres_image=options.postgres_image,
            redis_image=options.redis_image,
            needs=needs,
        )
    if options.backend == "external":
        urls = _urls(options)
        return make_environment(
            "external", database_url=urls["database_url"], redis_url=urls["redis_url"], needs=needs
        )
    return make_environment(
        options.backend,
        postgres_bin=options.postgres_bin,
        redis_server=options.redis_server,
        postgres_image=options.postgres_image,
        redis_image=options.redis_image,
        needs=needs,
    )
