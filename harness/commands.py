"""What the command line does, command by command; each returns an exit code and raises `HarnessError`."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from harness import registry
from harness.checker import CheckResult, Verdict
from harness.environment import Environment
from harness.environments import make_environment
from harness.errors import UsageError
from harness.history import History
from harness.masking import masked
from harness.progress import Progress, progress_on
from harness.report import prepare_folder, verdict_table, write_reports
from harness.runner import judge, run_scenario
from harness.scenario import Scenario, ScenarioRun
from harness.schedule import Schedule
from harness.target import Target

_NAMED = 60
_SHOWN = 20
"""Counterexamples that `check` prints of each checker; --json has all of them."""


def list_scenarios(options: Namespace) -> int:
    """Print the known scenarios, one a line, or as JSON."""
    known = registry.scenarios()
    if options.json:
        listed = [
            {
                "name": one.name,
                "summary": one.summary,
                "faults": len(one.faults),
                "workload": one.workload.name,
            }
            for one in known.values()
        ]
        print(json.dumps({"scenarios": listed}, indent=2))
        return 0
    width = max(map(len, known), default=0)
    for name, one in known.items():
        print(f"{name:<{width}}  {one.summary}")
    return 0


def build_images(options: Namespace) -> int:
    """Build the images of the container backend and print their names."""
    from harness.environments import images  # with the Docker SDK, which only this command needs here

    with progress_on() as progress:
        names = images.build_images(progress.step, force=options.force)
    print("\n".join(names))
    return 0


def check_history(options: Namespace) -> int:
    """Judge a recorded history by a scenario's checkers."""
    scenario = registry.scenario(options.scenario)
    if not options.history.exists():
        raise UsageError(f"There is no history at {options.history}. Name a .jsonl file or a folder of them.")
    history = History.load(options.history)
    results = judge(scenario, history)
    verdict = Verdict.combine(result.verdict for result in results.values())
    if options.json:
        print(json.dumps(_as_json(scenario, history, results, verdict), indent=2))
        return verdict.exit_code
    for name, result in results.items():
        print(f"{result.verdict:<8} {name}: {masked(result.summary)}")
        for example in result.counterexamples[:_SHOWN] if result.verdict is not Verdict.VALID else ():
            print(f"         {masked(json.dumps(dict(example), default=str))}")
    print(f"\nverdict: {verdict}")
    return verdict.exit_code


def run_scenarios(options: Namespace) -> int:
    """Run scenarios on one environment, write the reports, and print the verdicts."""
    request = _Request.of(options)
    folder = prepare_folder(request.report)
    with progress_on() as progress:
        progress.step(f"seed {request.seed}; starting Postgres and Redis ({options.backend})")
        with _environment(options) as environment:
            runs = [_run(request, scenario, environment, folder, progress) for scenario in request.scenarios]
            progress.step("taking the servers down")
        progress.step("writing the report")
        paths = write_reports(runs, folder)
    verdict = Verdict.combine(run.verdict for run in runs)
    if options.json:
        print(paths.json.read_text(encoding="utf-8"), end="")
    out = sys.stderr if options.json else sys.stdout
    print(f"\n{verdict_table(runs, colour=_in_colour(out.isatty()))}", file=out)
    for line in _members(runs):
        print(line, file=out)
    print(f"report:  {paths.html}\nrepeat:  {masked(request.repeat(request.scenarios))}", file=out)
    return verdict.exit_code


def _members(runs: Sequence[ScenarioRun]) -> Iterator[str]:
    """The tasks behind the counts of every INVALID checker: a lost task is named, not only counted."""
    for run in runs:
        for name, result in run.results.items():
            if result.verdict is not Verdict.INVALID:
                continue
            kinds: dict[str, list[int]] = {}
            for example in result.counterexamples:
                if isinstance(example.get("task"), int):
                    kinds.setdefault(str(example.get("kind", "wrong")), []).append(example["task"])
            for kind, tasks in kinds.items():
                listed = ", ".join(map(str, tasks[:_NAMED]))
                more = f", and {len(tasks) - _NAMED} more in the report" if len(tasks) > _NAMED else ""
                yield f"{run.scenario}, {name}: {kind} {listed}{more}"


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What was asked for, after everything that can be wrong about it was looked at."""

    options: Namespace
    scenarios: tuple[Scenario, ...]
    target: Target
    seed: int
    report: Path
    session: str

    @classmethod
    def of(cls, options: Namespace) -> _Request:
        scenarios = _chosen(options.scenarios, everything=options.all)
        _look_at_servers(options)
        if options.backend == "external":
            _guard(scenarios, options)
        seed = secrets.randbelow(2**32) if options.seed is None else options.seed
        for scenario in scenarios:
            Schedule.of(scenario, seed=seed, tasks=options.tasks)
        stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
        return cls(
            options=options,
            scenarios=scenarios,
            target=registry.target(options.target),
            seed=seed,
            report=options.report or Path("reports") / f"{stamp}-{seed}",
            session=secrets.token_hex(4),
        )

    def repeat(self, scenarios: Sequence[Scenario]) -> str:
        """The command that runs these scenarios again; URLs stay in the environment, for they hold passwords."""
        named = self.options.scenarios or [scenario.name for scenario in scenarios]
        chosen = list(dict.fromkeys(named)) if len(scenarios) > 1 else [_name(scenarios[0], named)]
        words = [
            "harness",
            "chaos",
            "run",
            *chosen,
            "--seed",
            str(self.seed),
            "--tasks",
            str(self.options.tasks),
        ]
        words += ["--backend", self.options.backend]
        if self.options.target != "agentexec":
            words += ["--target", self.options.target]
        for name in ("postgres_bin", "redis_server", "postgres_image", "redis_image", "allow_destructive"):
            if (value := getattr(self.options, name)) is not None:
                words += [f"--{name.replace('_', '-')}", str(value)]
        return shlex.join(words)


def _name(scenario: Scenario, named: Sequence[str]) -> str:
    """How the scenario was asked for: by its own name, or by an import path."""
    paths = (name for name in named if ":" in name and registry.scenario(name) is scenario)
    return next(paths, scenario.name)


def _run(
    request: _Request, scenario: Scenario, environment: Environment, folder: Path, progress: Progress
) -> ScenarioRun:
    return run_scenario(
        scenario,
        environment,
        request.target,
        seed=request.seed,
        tasks=request.options.tasks,
        history_folder=_history_folder(folder, scenario.name),
        progress=progress,
        queue=f"hx-{request.session}-{scenario.name}",
        repeat=request.repeat([scenario]),
    )


def _chosen(names: Sequence[str], *, everything: bool) -> tuple[Scenario, ...]:
    if everything and names:
        raise UsageError("Scenarios were named and --all was given. Give one or the other.")
    if not everything and not names:
        known = ", ".join(registry.scenarios())
        raise UsageError(f"No scenario is named. Name one or more of {known}, or give --all.")
    if everything:
        return tuple(registry.scenarios().values())
    return tuple(registry.scenario(name) for name in dict.fromkeys(names))


def _history_folder(folder: Path, scenario: str) -> Path:
    """An empty folder for the histories; those of an earlier run into the same report folder would mix with ours."""
    history = folder / "history" / scenario
    history.mkdir(parents=True, exist_ok=True)
    for old in (*history.glob("*.jsonl"), *history.glob("*.log")):
        old.unlink()
    return history


_SERVER_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "embedded": ("postgres_bin", "redis_server"),
    "containers": ("postgres_image", "redis_image"),
    "external": ("database_url", "redis_url", "allow_destructive"),
}


def _look_at_servers(options: Namespace) -> None:
    """An option of another backend would be passed over in silence, so it is refused."""
    for backend, names in _SERVER_OPTIONS.items():
        for name in names:
            if backend != options.backend and getattr(options, name) is not None:
                flag = f"--{name.replace('_', '-')}"
                raise UsageError(
                    f"{flag} has no meaning with --backend {options.backend}. "
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
                f"The external backend needs to know its servers: give --{name.replace('_', '-')} URL, "
                f"or set HARNESS_{name.upper()}."
            )
    return {name: value for name, value in given.items() if value}


def _guard(scenarios: Sequence[Scenario], options: Namespace) -> None:
    """Nothing destructive runs against somebody's servers unless it is asked for by name, and they are too."""
    destructive = [scenario.name for scenario in scenarios if scenario.destructive]
    database = unquote(urlsplit(_urls(options)["database_url"]).path.lstrip("/"))
    if not destructive:
        return
    if options.all:
        raise UsageError(
            f"--all would run destructive scenarios ({', '.join(destructive)}) against external servers. "
            "Name each one that you mean."
        )
    if options.allow_destructive != database:
        raise UsageError(
            f"{', '.join(destructive)} would be destructive to the external database {database!r}. "
            f"If you mean it, say so with --allow-destructive {shlex.quote(database)}."
        )


def _environment(options: Namespace) -> Environment:
    if options.backend == "external":
        urls = _urls(options)
        return make_environment("external", database_url=urls["database_url"], redis_url=urls["redis_url"])
    return make_environment(
        options.backend,
        postgres_bin=options.postgres_bin,
        redis_server=options.redis_server,
        postgres_image=options.postgres_image,
        redis_image=options.redis_image,
    )


def _in_colour(terminal: bool) -> bool:
    return terminal and not os.environ.get("NO_COLOR")


def _as_json(
    scenario: Scenario, history: History, results: Mapping[str, CheckResult], verdict: Verdict
) -> dict[str, object]:
    return {
        "scenario": scenario.name,
        "verdict": verdict,
        "operations": len(history),
        "checkers": {
            name: {
                "verdict": result.verdict,
                "summary": result.summary,
                "figures": dict(result.figures),
                "counterexamples": [dict(example) for example in result.counterexamples],
            }
            for name, result in results.items()
        },
    }
