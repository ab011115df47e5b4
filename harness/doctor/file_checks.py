"""Checks of files: manifests of the deployment, backups, and the report of a load test.

Manifests are read as lines of `key: value`, so that a finding can name the line, and no YAML library is needed. Anchors
and templates are not followed.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from harness.doctor.check import Area, Box, CheckFinding, check, failed, passed, warned
from harness.doctor.installation import Installation
from harness.doctor.unanswered import CannotTell

_files = partial(check, area=Area.FILES)
YAML = (".yaml", ".yml")
ENDINGS = (*YAML, ".service", ".env", ".rules")
MOST_FILES, MOST_BYTES = 500, 1_000_000
DAY = 86_400.0
OLDEST_BACKUP_DAYS = 26 / 24  # one a day, with two hours to take it
GRACE_MARGIN = 10  # seconds between the end of the handlers and the end of the pool
_GRACE = re.compile(
    r"^\s*(terminationGracePeriodSeconds['\"]?\s*:|stop_grace_period\s*:|TimeoutStopSec\s*=)\s*['\"]?([\w.]+)",
    re.MULTILINE,
)
_SECONDS = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+(?:\.\d+)?)s?)?")
# On one line, as a list of words on lines of their own, or split into command and args.
_WORKER = re.compile(
    r"agentexec['\"]?(?:,?[ \t]+|,|\n[ \t]*-[ \t]+|\]?\n[ \t]*args[ \t]*:[ \t]*(?:\[|\n[ \t]*-[ \t]+))['\"]?worker\b"
)
_NAMES = r"[\w.-]*(?:PASSWORD|PASSWD|SECRET|TOKEN|API_KEYS?|ACCESS_KEY)"
# NAME: value, NAME=value, and name/value of a container on one line or two.
_PLAIN = re.compile(
    rf"^[ \t]*(?:-[ \t]+)?(?:export[ \t]+|Environment=['\"]?)?(?P<a>{_NAMES})[ \t]*[:=][ \t]*(?P<v>[^\s#].*)$"
    rf"|name:[ \t]*['\"]?(?P<b>{_NAMES})['\"]?[ \t]*(?:,[ \t]*|\n[ \t]*)value:[ \t]*(?P<w>\S.*)$",
    re.MULTILINE,
)
_IN_TEXT = re.compile(
    r"(?:postgres(?:ql)?(?:\+\w+)?|rediss?(?:\+sentinel)?)://[^\s:/@'\"]*:(?P<v>[^\s@'\"]+)@"
    r"|(?P<option>--requirepass|--masterauth|requirepass|masterauth)['\", ]+(?P<w>[^\s'\",]+)"
)
_REFERENCE = re.compile(r"^['\"]?(?:\$\{?|\{\{|<|$|''|\"\")|^['\"]?/run/secrets/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """One YAML document of a file, or a file of another kind."""

    file: str
    first_line: int
    text: str

    def line(self, position: int) -> str:
        """`file:line` of a position in the text."""
        return f"{self.file}:{self.first_line + self.text.count(chr(10), 0, position)}"

    @property
    def kind(self) -> str:
        """The kind of an object of Kubernetes; empty for anything else."""
        match = re.search(r"^kind\s*:\s*['\"]?(\w+)", self.text, re.MULTILINE)
        return match[1] if match and "apiVersion" in self.text else ""


@_files(
    "files.stop-grace",
    box=Box.GRACE,
    asks="Does the orchestrator wait for AGENTEXEC_GRACEFUL_SHUTDOWN_TIMEOUT before it kills?",
    why="SIGKILL ends handlers in the middle; their tasks run again. The defaults are 30 s in Kubernetes, "
    "10 s in Compose, 90 s in systemd.",
    remedy="Set terminationGracePeriodSeconds, stop_grace_period or TimeoutStopSec to the time-out and 10 s more.",
    scenario="rolling-deploy",
)
def stop_grace(site: Installation) -> CheckFinding:
    """Every document that starts a worker needs one, and each has to be long enough."""
    needed, wrong = site.settings.graceful_shutdown_timeout + GRACE_MARGIN, []
    for one, start in _workers(site):
        given = list(_GRACE.finditer(one.text))
        wrong += [] if given else [f"{one.line(start)} starts a worker without one"]
        wrong += [f"{one.line(it.start(1))} {it[2]}" for it in given if seconds_of(it[2]) < needed]
    return failed(f"{needed:g} s needed: {'; '.join(wrong)}") if wrong else passed(f"at least {needed:g} s")


@_files(
    "files.secrets",
    box=Box.SECRETS,
    asks="Have the manifests no secret in clear text?",
    why="Anyone who reads the repository has the password.",
    remedy="Refer to a Kubernetes Secret (secretKeyRef), a Compose secret or a variable, and change the password.",
)
def secrets(site: Installation) -> CheckFinding:
    """Values of names such as ..._PASSWORD, and passwords in URLs; references to variables pass. No value is shown."""
    places = [f"{one.line(at)} {name}" for one in manifests(site) for name, at in _plain_secrets(one)]
    return failed("; ".join(places[:5])) if places else passed("none found")


@_files(
    "files.network-policy",
    box=Box.NETWORK,
    asks="Is there a NetworkPolicy whose egress allows DNS?",
    why="Without one every pod reaches Redis and Postgres; one with egress but no port 53 cuts off name resolution.",
    remedy="Add a NetworkPolicy with egress to Redis, Postgres, port 443, and port 53 over UDP and TCP.",
)
def network_policy(site: Installation) -> CheckFinding:
    """Only for Kubernetes."""
    policies = [one.text for one in _kubernetes(site) if one.kind == "NetworkPolicy"]
    if not policies:
        return failed("no NetworkPolicy")
    egress = [doc for doc in policies if re.search(r"^\s*-?\s*egress\s*:|Egress", doc, re.MULTILINE)]
    dns = any(re.search(r"port['\"]?\s*:\s*['\"]?53\b", doc) for doc in egress)
    return (
        passed(f"{len(policies)}")
        if dns or not egress
        else failed("egress without port 53: no name is resolved")
    )


@_files(
    "files.memory-limits",
    asks="Has each container a memory limit?",
    why="One handler that leaks memory takes the machine down with all its neighbours.",
    remedy="Set resources.limits.memory (Kubernetes), deploy.resources.limits.memory (Compose) or MemoryMax (systemd).",
    scenario="exhaust-memory",
)
def memory_limits(site: Installation) -> CheckFinding:
    """Of every document that starts a worker."""
    return _each_worker(
        site, r"limits\s*:[^\n]*\n?(?:.*\n){0,3}?.*memory|mem_limit|MemoryMax", "memory limit"
    )


@_files(
    "files.probes",
    box=Box.HEALTH,
    asks="Does the orchestrator probe health?",
    why="A pool that hangs is never restarted, and a rollout goes on although nothing becomes ready.",
    remedy="Add livenessProbe /health/live and readinessProbe /health/ready on the metrics port, or a healthcheck.",
)
def probes(site: Installation) -> CheckFinding:
    """Of every document that starts a worker."""
    return _each_worker(site, r"livenessProbe|readinessProbe|healthcheck\s*:|WatchdogSec", "probe")


@_files(
    "files.disruption-budget",
    asks="Is there a PodDisruptionBudget?",
    why="Draining nodes may stop all pools at the same time.",
    remedy="Add a PodDisruptionBudget with minAvailable: 1.",
)
def disruption_budget(site: Installation) -> CheckFinding:
    """Only for Kubernetes; WARN only."""
    there = any(one.kind == "PodDisruptionBudget" for one in _kubernetes(site))
    return passed("there is one") if there else warned("none")


@_files(
    "files.alerts",
    box=Box.ALERTS,
    asks="Are there alert rules over agentexec's metrics?",
    why="A queue without workers, dead letters and a full Redis are found by users first.",
    remedy="Add the rules of docs/production/observe.md, Metrics, to Prometheus.",
)
def alerts(site: Installation) -> CheckFinding:
    """Files with `alert:` and a name that begins with agentexec_."""
    rules = [
        rule
        for one in manifests(site)
        if "agentexec_" in one.text
        for rule in re.findall(r"\balert\s*:\s*['\"]?(\w+)", one.text)
    ]
    return passed(f"{len(rules)} rules") if rules else failed("no rule names a metric of agentexec")


@_files(
    "files.cleanup-job",
    box=Box.CLEANUP,
    asks="Does a job run the clean-up?",
    why="Tables that only grow make backups, restores and index scans slower each day.",
    remedy="Add a CronJob or a timer that runs agentexec cleanup each day.",
)
def cleanup_job(site: Installation) -> CheckFinding:
    """A file that names the command or the function."""
    places = [one.file for one in manifests(site) if re.search(r"cleanup(_old_activities)?\b", one.text)]
    return passed(", ".join(places[:3])) if places else failed("no file runs agentexec cleanup")


@_files(
    "files.backup-age",
    box=Box.BACKUPS,
    asks="Is the newest backup of --backups DIR younger than 26 hours, and not empty?",
    why="Tasks that were recorded since the last backup are gone with the database.",
    remedy="Schedule pg_dump or base backups, and see why the last one failed.",
    scenario="backup-and-restore-under-load",
)
def backup_age(site: Installation) -> CheckFinding:
    """The newest file by its time of change; whether it can be restored is not checked."""
    folder = site.options.backups
    if folder is None:
        raise CannotTell("no folder given; --backups DIR names it")
    files = [path.stat() for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    newest = max(files, key=lambda one: one.st_mtime, default=None)
    if newest is None:
        return failed("no file")
    days = (time.time() - newest.st_mtime) / DAY
    seen = f"{24 * days:,.1f} hours old, {newest.st_size:,} bytes"
    return passed(seen) if days <= OLDEST_BACKUP_DAYS and newest.st_size else failed(seen)


@_files(
    "files.load-test",
    box=Box.LOAD_TEST,
    asks="Is there a load test (--load-report DIR) that met its thresholds, younger than --load-report-days?",
    why="How many tasks the installation takes is unknown until it takes no more.",
    remedy="Run harness load run against a staging installation (docs/howto/load.md).",
)
def load_test(site: Installation) -> CheckFinding:
    """The verdict.json of a report of `harness load` or `harness chaos run --load`."""
    folder = site.options.load_report
    if folder is None:
        raise CannotTell("no report given; --load-report DIR names it")
    path = folder / "verdict.json" if folder.is_dir() else folder
    try:
        document = json.loads(path.read_text("utf-8"))
        code, days = int(document["exit_code"]), (time.time() - path.stat().st_mtime) / DAY
    except (OSError, ValueError, KeyError, TypeError):
        return failed("there is no verdict.json that can be read")
    seen = f"exit code {code}, {days:,.1f} days old"
    return passed(seen) if code == 0 and days <= site.options.load_report_days else failed(seen)


def manifests(site: Installation) -> list[Manifest]:
    """The documents of the deployment's folder; raises `CannotTell` if there are none."""
    folder = site.files()
    paths = [path for path in sorted(folder.rglob("*")) if _is_manifest(path)][:MOST_FILES]
    if not paths:
        raise CannotTell(f"the folder has no file that ends in {', '.join(ENDINGS)}")
    return [one for path in paths for one in _documents(path, str(path.relative_to(folder)))]


def seconds_of(text: str) -> float:
    """Seconds of `310`, `310s`, `5m30s`, `5min`; infinity for `infinity`, 0 for anything else."""
    if text == "infinity":
        return float("inf")
    match = _SECONDS.fullmatch(text)
    hours, minutes, seconds = match.groups() if match else (None, None, None)
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds or 0)


def _is_manifest(path: Path) -> bool:
    named = path.suffix in ENDINGS or path.name == ".env"
    return named and path.is_file() and os.access(path, os.R_OK) and path.stat().st_size <= MOST_BYTES


def _documents(path: Path, name: str) -> Iterator[Manifest]:
    lines = path.read_text("utf-8", "replace").splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if line.startswith("---") and path.suffix in YAML]
    for start, end in pairwise([-1, *ends, len(lines)]):
        yield Manifest(file=name, first_line=start + 2, text="".join(lines[start + 1 : end]))


def _plain_secrets(one: Manifest) -> Iterator[tuple[str, int]]:
    for match in _PLAIN.finditer(one.text):
        if not _REFERENCE.match((match["v"] or match["w"]).strip()):
            group = "a" if match["a"] else "b"
            yield match[group], match.start(group)
    for match in _IN_TEXT.finditer(one.text):
        if not _REFERENCE.match(match["v"] or match["w"]):
            yield match["option"] or "URL with a password", match.start()


def _kubernetes(site: Installation) -> list[Manifest]:
    found = [one for one in manifests(site) if one.kind]
    if not found:
        raise CannotTell("no manifests of Kubernetes")
    return found


def _workers(site: Installation) -> list[tuple[Manifest, int]]:
    """The documents that start a worker, with the position; raises `CannotTell` if there are none."""
    places = [(one, match) for one in manifests(site) if (match := _WORKER.search(one.text))]
    if not places:
        raise CannotTell("no file starts `agentexec worker`")
    return [(one, match.start()) for one, match in places]


def _each_worker(site: Installation, pattern: str, what: str) -> CheckFinding:
    """FAIL with the places that start a worker in a document where the pattern does not match."""
    workers = _workers(site)
    without = [one.line(start) for one, start in workers if not re.search(pattern, one.text)]
    return failed(f"{', '.join(without)}: no {what}") if without else passed(f"{len(workers)} workers")
