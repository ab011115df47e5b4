"""Checks of files: manifests of the deployment, backups, logs, and the report of a load test."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path

from harness.doctor.area import Area
from harness.doctor.check import Box, CheckFinding, check, failed, passed, warned
from harness.doctor.installation import Installation
from harness.doctor.manifests import ENOUGH_COPIES, Manifest, StartedProgram
from harness.doctor.unanswered import CannotTell

_files = partial(check, area=Area.FILES)
LOG_BYTES, MOST_BACKUPS = 65_536, 50_000
DAY = 86_400.0
OLDEST_BACKUP_DAYS = 26 / 24  # one a day, with two hours to take it
GRACE_MARGIN = 10  # seconds between the end of the handlers and the end of the pool
_GRACE = re.compile(
    r"(?:^\s*|[{,]\s*)(terminationGracePeriodSeconds['\"]?\s*:|stop_grace_period\s*:|TimeoutStopSec\s*=)"
    r"\s*['\"]?([\w.]+)",
    re.MULTILINE,
)
_SECONDS = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+(?:\.\d+)?)s?)?")
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
_DATA = re.compile(r"^(?P<key>(?:data|stringData)[ \t]*:).*\n?(?:[ \t#].*\n?|\n)*", re.MULTILINE)
_VALUE = re.compile(r"[\w.-]+['\"]?[ \t]*:[ \t]+(?P<v>[^\s{#][^\n]*)")
_REFERENCE = re.compile(r"^['\"]?(?:\$\{?|\{\{|<|$|''|\"\")|^['\"]?/run/secrets/")


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
    """Every place that starts a worker needs one, and each has to be long enough."""
    needed, wrong, without = site.settings.graceful_shutdown_timeout + GRACE_MARGIN, list[str](), list[str]()
    for one in _workers(site):
        given = _in_effect(one)
        without += [] if given else [f"{one.place} starts a worker without one"]
        wrong += [f"{text.line(it.start(1))} {it[2]}" for text, it in given if seconds_of(it[2]) < needed]
    if wrong:
        return failed(f"{needed:g} s needed: {'; '.join([*without, *wrong])}")
    seen = f"{needed:g} s needed: {'; '.join(without)}"
    return _absent(site, failed(seen)) if without else passed(f"at least {needed:g} s")


@_files(
    "files.secrets",
    box=Box.SECRETS,
    asks="Have the manifests no secret in clear text?",
    why="Anyone who reads the repository has the password.",
    remedy="Refer to a Kubernetes Secret (secretKeyRef), a Compose secret or a variable, and change the password.",
)
def secrets(site: Installation) -> CheckFinding:
    """Values of names such as ..._PASSWORD, and passwords in URLs; references to variables pass. No value is shown."""
    found = site.manifests
    texts = (*found.documents, *found.drop_ins)
    places = [f"{one.line(at)} {name}" for one in texts for name, at in _plain_secrets(one)]
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
        return _absent(site, failed("no NetworkPolicy"))
    egress = [doc for doc in policies if re.search(r"^\s*-?\s*egress\s*:|Egress", doc, re.MULTILINE)]
    dns = any(re.search(r"port['\"]?\s*:\s*['\"]?53\b", doc) for doc in egress)
    if egress and not dns:
        return _absent(site, failed("egress without port 53: no name is resolved"))
    return passed(f"{len(policies)}")


@_files(
    "files.memory-limits",
    asks="Has each container a memory limit?",
    why="One handler that leaks memory takes the machine down with all its neighbours.",
    remedy="Set resources.limits.memory (Kubernetes), deploy.resources.limits.memory (Compose) or MemoryMax (systemd).",
    scenario="exhaust-memory",
)
def memory_limits(site: Installation) -> CheckFinding:
    """Of every place that starts a worker."""
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
    """Of every place that starts a worker."""
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
    return passed("there is one") if there else _absent(site, warned("none"))


@_files(
    "files.replicas",
    asks="Do at least two pools start, and two API servers?",
    why="With one, each restart and each lost machine is a pause of the whole queue, or of all callers.",
    remedy="Set replicas: 2, or minReplicas: 2 of the HorizontalPodAutoscaler; put a balancer before the API servers.",
    scenario="scale-to-zero",
)
def replicas(site: Installation) -> CheckFinding:
    """The sums over all objects of Kubernetes, and over all services of Compose files; a unit names no number."""
    found = site.manifests
    counts = {"pools": found.copies(_workers(site)), "API servers": found.copies(found.api_servers())}
    seen = [
        f"{count} {what} of {kind}" for what, by_kind in counts.items() for kind, count in by_kind.items()
    ]
    if not seen:
        raise CannotTell("only units start a worker")
    if all(count >= ENOUGH_COPIES for by_kind in counts.values() for count in by_kind.values()):
        return passed(", ".join(seen))
    return _absent(site, warned(", ".join(seen)))


@_files(
    "files.alerts",
    box=Box.ALERTS,
    asks="Are there alert rules over agentexec's metrics?",
    why="A queue without workers, dead letters and a full Redis are found by users first.",
    remedy="Add deploy/prometheus/agentexec.rules.yaml to Prometheus; docs/howto/alerts.md has what each alert means.",
)
def alerts(site: Installation) -> CheckFinding:
    """Files with `alert:` and a name that begins with agentexec_."""
    rules = [
        rule
        for one in site.manifests.documents
        if "agentexec_" in one.text
        for rule in re.findall(r"\balert\s*:\s*['\"]?(\w+)", one.text)
    ]
    found = failed("no rule names a metric of agentexec")
    return passed(f"{len(rules)} rules") if rules else _absent(site, found)


@_files(
    "files.cleanup-job",
    box=Box.CLEANUP,
    asks="Does a job run the clean-up?",
    why="Tables that only grow make backups, restores and index scans slower each day.",
    remedy="Add a CronJob or a timer that runs agentexec cleanup each day.",
)
def cleanup_job(site: Installation) -> CheckFinding:
    """A file that names the command or the function."""
    places = [
        one.file for one in site.manifests.documents if re.search(r"cleanup(_old_activities)?\b", one.text)
    ]
    found = failed("no file runs agentexec cleanup")
    return passed(", ".join(places[:3])) if places else _absent(site, found)


@_files(
    "files.backup-age",
    box=Box.BACKUPS,
    asks="Is the newest backup of --backups DIR younger than 26 hours, and not empty?",
    why="Tasks that were recorded since the last backup are gone with the database.",
    remedy="Schedule pg_dump or base backups, and see why the last one failed.",
    scenario="backup-and-restore-under-load",
)
def backup_age(site: Installation) -> CheckFinding:
    """The newest file below the folder by its time of change; whether it can be restored is not checked."""
    folder = site.options.backups
    if folder is None:
        raise CannotTell("no folder given; --backups DIR names it")
    found = list(islice(_files_below(folder), MOST_BACKUPS))
    if len(found) == MOST_BACKUPS:
        raise CannotTell(f"it has {MOST_BACKUPS:,} files; give the folder of the newest ones")
    newest = max(found, key=lambda one: one.st_mtime, default=None)
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
        if not path.is_file():
            raise FileNotFoundError
        document = json.loads(path.read_text("utf-8"))
        code, days = int(document["exit_code"]), (time.time() - path.stat().st_mtime) / DAY
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return failed("there is no verdict.json that can be read")
    seen = f"exit code {code}, {days:,.1f} days old"
    return passed(seen) if code == 0 and days <= site.options.load_report_days else failed(seen)


@_files(
    "files.log",
    box=Box.LOGGING,
    asks="Are the last lines of the log of a pool (--log FILE) JSON objects with time, level and message?",
    why="Lines of text cannot be searched by task, attempt or agent id.",
    remedy="Set AGENTEXEC_LOG_FORMAT=json of the pools, and see what else writes to their output.",
)
def log(site: Installation) -> CheckFinding:
    """The last lines of the file, at most 64 KiB; no line is shown."""
    if site.options.log is None:
        raise CannotTell("no log given; --log FILE names one")
    try:
        if not stat.S_ISREG(site.options.log.stat().st_mode):  # to open a pipe would wait for a writer
            return failed("it is no file")
        file = site.options.log.open("rb")
    except OSError as error:
        return failed(f"it cannot be read: {error.strerror}")
    with file:
        start = max(0, file.seek(0, os.SEEK_END) - LOG_BYTES)
        file.seek(start)
        lines = file.read().splitlines()[bool(start) :]  # the first one may be cut
    other = sum(not _is_structured(line) for line in lines)
    seen = f"{len(lines) - other} of the last {len(lines)} lines are"
    return passed(seen) if lines and not other else failed(seen)


def _is_structured(line: bytes) -> bool:
    try:
        found = json.loads(line)
    except ValueError:
        return False
    return isinstance(found, dict) and found.keys() >= {"timestamp", "level", "message"}


def seconds_of(text: str) -> float:
    """Seconds of `310`, `310s`, `5m30s`, `5min`; infinity for `infinity`, 0 for anything else."""
    if text == "infinity":
        return float("inf")
    match = _SECONDS.fullmatch(text)
    hours, minutes, seconds = match.groups() if match else (None, None, None)
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds or 0)


def _plain_secrets(one: Manifest) -> Iterator[tuple[str, int]]:
    if one.kind == "Secret":
        blocks = ((data.end("key"), data.end()) for data in _DATA.finditer(one.text))
        values = [match for block in blocks for match in _VALUE.finditer(one.text, *block)]
        yield from [("data of a Secret", it.start("v")) for it in values if not _REFERENCE.match(it["v"])][:1]
    for match in _PLAIN.finditer(one.text):
        if not _REFERENCE.match((match["v"] or match["w"]).strip()):
            group = "a" if match["a"] else "b"
            yield match[group], match.start(group)
    for match in _IN_TEXT.finditer(one.text):
        if not _REFERENCE.match(match["v"] or match["w"]):
            yield match["option"] or "URL with a password", match.start()


def _kubernetes(site: Installation) -> list[Manifest]:
    found = [one for one in site.manifests.documents if one.kind]
    if not found:
        raise CannotTell("no manifests of Kubernetes")
    return found


def _workers(site: Installation) -> list[StartedProgram]:
    """The places that start a worker; raises `CannotTell` if there are none."""
    found = site.manifests
    if not (places := found.workers()):
        raise CannotTell("; ".join(filter(None, ("no file starts `agentexec worker`", found.unread))))
    return places


def _each_worker(site: Installation, pattern: str, what: str) -> CheckFinding:
    """FAIL with the places that start a worker where the pattern does not match."""
    workers = _workers(site)
    without = [one.place for one in workers if not any(re.search(pattern, text.text) for text in one.scope)]
    found = failed(f"{', '.join(without)}: no {what}")
    return _absent(site, found) if without else passed(f"{len(workers)} workers")


def _in_effect(one: StartedProgram) -> list[tuple[Manifest, re.Match[str]]]:
    """The graces that count for a worker: of a unit the last one."""
    for text in one.scope:
        if found := list(_GRACE.finditer(text.text)):
            return [(text, match) for match in (found[-1:] if one.text.is_unit else found)]
    return []


def _absent(site: Installation, finding: CheckFinding) -> CheckFinding:
    """The finding that something is not there; raises `CannotTell` if what was not read may have it."""
    if unread := site.manifests.unread:
        raise CannotTell(f"{finding.seen}; but {unread}")
    return finding


def _files_below(folder: Path) -> Iterator[os.stat_result]:
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # removed meanwhile
                if stat.S_ISREG((found := Path(place, name).stat()).st_mode):
                    yield found
