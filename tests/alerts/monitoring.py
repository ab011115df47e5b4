"""A real Prometheus, and the exporters of Redis and Postgres, as child processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from harness.environments.base import Endpoints
from harness.environments.ports import free_port
from harness.environments.urls import plain_url
from tests.alerts.scaling import FACTOR, LOOKBACK_SECONDS, proof_configuration, proof_rules
from tests.support.production import until_up

PROMETHEUS = "prometheus"
REDIS_EXPORTER, POSTGRES_EXPORTER = "prometheus-redis-exporter", "prometheus-postgres-exporter"
PROGRAMS = (PROMETHEUS, REDIS_EXPORTER, POSTGRES_EXPORTER)  # each is a package of Debian with the same name


@dataclass(frozen=True, kw_only=True, slots=True)
class Firing:
    """An alert that fires, with its summary as a person gets it."""

    name: str
    summary: str


Sample = tuple[float, float]
"""Seconds since the epoch, and the value."""


@dataclass(frozen=True, kw_only=True)
class Prometheus:
    """A running Prometheus, and the folder with the targets of its jobs."""

    http: httpx.Client
    targets: Path

    def scrape(self, job: str, places: Sequence[str]) -> None:
        """Replace the targets of a job, each as host:port."""
        new = self.targets / f"{job}.new"
        new.write_text(json.dumps([{"targets": list(places)}]), "utf-8")
        new.rename(self.targets / f"{job}.json")

    def scraped(self, job: str) -> set[str]:
        """The present targets of a job. Prometheus takes a change over within 5 s."""
        active = self._get("targets", state="active")["activeTargets"]
        return {one["labels"]["instance"] for one in active if one["labels"]["job"] == job}

    def firing(self) -> list[Firing]:
        """The alerts that fire now."""
        return [
            Firing(name=one["labels"]["alertname"], summary=one["annotations"]["summary"])
            for one in self._get("alerts")["alerts"]
            if one["state"] == "firing"
        ]

    def query(self, query: str) -> Mapping[str, float]:
        """The values of a query now, by instance."""
        found = self._get("query", query=query)["result"]
        return {one["metric"]["instance"]: float(one["value"][1]) for one in found}

    def over_time(
        self, query: str, begin: float, end: float, step: float
    ) -> list[tuple[dict[str, str], list[Sample]]]:
        """The series of a query with their labels; times in seconds since the epoch."""
        found = self._get("query_range", query=query, start=str(begin), end=str(end), step=str(step))
        return [
            (one["metric"], [(float(at), float(value)) for at, value in one["values"]])
            for one in found["result"]
        ]

    def _get(self, path: str, **parameters: str) -> Any:
        return self.http.get(f"/api/v1/{path}", params=parameters).raise_for_status().json()["data"]


def missing_programs() -> list[str]:
    """The packages of Debian that have to be installed for a proof."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@contextlib.contextmanager
def running_prometheus(folder: Path) -> Iterator[Prometheus]:
    """Prometheus with the scaled rules and no targets yet; it is killed in the end, with its data in the folder."""
    targets, rules, configuration = folder / "targets", folder / "rules.yaml", folder / "prometheus.yaml"
    targets.mkdir()
    rules.write_text(proof_rules(), "utf-8")
    configuration.write_text(proof_configuration(str(rules), str(targets)), "utf-8")
    command = [
        PROMETHEUS,
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--query.lookback-delta={LOOKBACK_SECONDS / FACTOR:g}s",
        "--log.level=warn",
    ]
    with _served(command, "--web.listen-address", folder, "/-/ready", os.environ) as http:
        yield Prometheus(http=http, targets=targets)


@contextlib.contextmanager
def running_exporters(endpoints: Endpoints, folder: Path) -> Iterator[Mapping[str, str]]:
    """The exporters of both servers; yields the place of each as host:port by its job."""
    redis = dict(os.environ, REDIS_ADDR=endpoints.redis_url)
    postgres = dict(os.environ, DATA_SOURCE_NAME=f"{plain_url(endpoints.database_url)}?sslmode=disable")
    with (
        _served(
            [REDIS_EXPORTER, "-include-system-metrics"], "-web.listen-address", folder, "/metrics", redis
        ) as first,
        _served([POSTGRES_EXPORTER], "--web.listen-address", folder, "/metrics", postgres) as second,
    ):
        yield {"redis": place_of(first), "postgres": place_of(second)}


def place_of(http: httpx.Client) -> str:
    """host:port of a client."""
    return f"{http.base_url.host}:{http.base_url.port}"


@contextlib.contextmanager
def _served(
    command: Sequence[str], option: str, folder: Path, ready: str, environment: Mapping[str, str]
) -> Iterator[httpx.Client]:
    """A program that listens where `option` says; yields a client once it answers."""
    place = f"127.0.0.1:{free_port()}"
    log = folder / f"{command[0]}.log"
    with log.open("wb") as output, httpx.Client(base_url=f"http://{place}", timeout=30) as http:
        process = subprocess.Popen(
            [*command, f"{option}={place}"], cwd=folder, env=environment, stdout=output, stderr=output
        )
        try:
            until_up(http, ready, process, log)
            yield http
        finally:
            process.kill()
            process.wait()
