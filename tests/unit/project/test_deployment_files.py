"""The files of the deployment kit: the doctor judges them, and they fit their schemas and one another."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from ruamel.yaml import YAML

from harness.doctor.area import Area
from harness.doctor.check import Grade
from harness.doctor.examination import examine, grades
from harness.doctor.installation import DoctorOptions, Installation
from harness.doctor.registry import CHECKS
from tests.conftest import Eventually
from tests.support.servers import require_package

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
COMPOSE, KUBERNETES, SYSTEMD = DEPLOY / "compose" / "compose.yaml", DEPLOY / "kubernetes", DEPLOY / "systemd"
SCRIPTS = [
    DEPLOY / "image" / "with-secrets",
    SYSTEMD / "watched",
    *sorted(path for folder in ("compose", "postgres", "redis") for path in (DEPLOY / folder).glob("*.sh")),
]
FILES = [one for one in CHECKS if one.area in (Area.FILES, Area.SETTINGS)]
# A backup and a load test are there in the end only, and a key is no setting of a file.
NOT_OF_FILES = {
    "files.backup-age": Grade.SKIP,
    "files.backup-restored": Grade.SKIP,
    "files.load-test": Grade.SKIP,
    "files.log": Grade.SKIP,
    "settings.api-keys": Grade.WARN,
    "settings.key-age": Grade.SKIP,
    "settings.key-rotation": Grade.SKIP,
}
WITH_SECRETS = DEPLOY / "image" / "with-secrets"


def settings() -> dict[str, str]:
    lines = (DEPLOY / "agentexec.env").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def objects() -> list[Any]:
    return [one for path in sorted(KUBERNETES.glob("*.yaml")) for one in YAML(typ="safe").load_all(path)]


def of_kind(kind: str) -> dict[str, Any]:
    return {one["metadata"]["name"]: one for one in objects() if one["kind"] == kind}


def pods() -> dict[str, Any]:
    """The template of each pod by the name of its object."""
    found = {}
    for one in objects():
        spec = one.get("spec", {})
        job = spec["jobTemplate"]["spec"] if one["kind"] == "CronJob" else spec
        if "template" in job:
            found[one["metadata"]["name"]] = job["template"]
    return found


def composed() -> Mapping[str, Any]:
    found: Mapping[str, Any] = YAML(typ="safe").load(COMPOSE)
    return found


def selects(selector: Mapping[str, str], template: Any) -> bool:
    labels: Mapping[str, str] = template["metadata"]["labels"]
    return selector.items() <= labels.items()


def run(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, words)),
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that make-secrets.sh writes."""
    folder = tmp_path_factory.mktemp("kit") / "secrets"
    done = run("sh", DEPLOY / "compose" / "make-secrets.sh", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_doctor_passes_the_kit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings().items():
        monkeypatch.setenv(name, value)
    with Installation(DoctorOptions(deployment=DEPLOY)) as site:
        report = examine(site, (), today=datetime.now(UTC).date(), checks=FILES)
    found = grades(report)
    assert found == dict.fromkeys(found, Grade.PASS) | NOT_OF_FILES, [one.finding for one in report.results]


def test_the_kubernetes_objects_have_the_schema_of_several_versions() -> None:
    versions = [word for version in ("1.30", "1.37") for word in ("-k", version)]
    files = sorted(KUBERNETES.glob("*.yaml"))
    checked = run(sys.executable, "-m", "kubernetes_validate", "--strict", *versions, *files)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("passed") == 2 * len(objects())


def kept(given: Any, again: Any) -> bool:
    """Whether a document has all of another one; it may have more."""
    match given, again:
        case dict(), dict():
            return given.keys() <= again.keys() and all(kept(given[key], again[key]) for key in given)
        case list(), list():
            return len(given) == len(again) and all(map(kept, given, again))
    return bool(given == again)


def test_the_sdk_of_grafana_reads_all_of_the_dashboard() -> None:
    """It leaves out what Grafana does not know."""
    document = json.loads((DEPLOY / "grafana" / "agentexec.json").read_text("utf-8"))
    register_default_plugins()
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(document)))
    assert kept(document, again)
    document["panels"][0]["fieldConfig"]["defaults"]["units"] = "s"
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(document)))
    assert not kept(document, again)


def test_the_compose_file_has_the_schema_of_its_specification() -> None:
    checked = run(
        sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_prometheus_scrapes_as_everywhere_and_with_the_key_of_the_api() -> None:
    here, general = (
        YAML(typ="safe").load(folder / "prometheus.yaml")
        for folder in (COMPOSE.parent, DEPLOY / "prometheus")
    )
    (api,) = (job for job in here["scrape_configs"] if job["job_name"] == "agentexec-api")
    key = api.pop("authorization")["credentials_file"]
    assert key.removeprefix("/run/secrets/") in composed()["services"]["prometheus"]["secrets"]
    assert here.pop("rule_files") == [f"/etc/prometheus/{name}" for name in general.pop("rule_files")]
    assert here == general


def test_all_installations_have_the_same_settings() -> None:
    assert of_kind("ConfigMap")["agentexec"]["data"] == settings()
    units = [path.read_text("utf-8") for path in SYSTEMD.glob("*.service") if "backup" not in path.name]
    assert all("EnvironmentFile=/etc/agentexec/agentexec.env" in text for text in units)
    for service in ("api", "worker", "migrate", "cleanup"):
        assert composed()["services"][service]["env_file"] == ["../agentexec.env"]


def test_each_container_is_bounded_and_has_no_rights() -> None:
    for name, template in pods().items():
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        for container in pod["containers"]:
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}, name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
    jobs = {"roles", "migrate", "restore"}  # each runs once
    for name, service in composed()["services"].items():
        if name not in jobs:
            assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
            assert service["restart"] == "unless-stopped", name
        if service["image"].startswith("${APP_IMAGE"):
            assert (service["cap_drop"], service["read_only"]) == (["ALL"], True), name


def test_a_secret_is_a_reference_in_each_pod() -> None:
    assert of_kind("Secret") == {}
    for template in pods().values():
        for container in template["spec"]["containers"]:
            for one in container.get("env", []):
                reference = one.get("valueFrom", {}).get("secretKeyRef", {}).get("name")
                is_secret = bool(re.search(r"URL|PASSWORD|KEYS", one["name"]))
                assert (reference == "agentexec") is is_secret, one["name"]


def test_policies_budgets_services_and_scalers_select_pods() -> None:
    templates = list(pods().values())
    selectors = [
        *(one["spec"]["podSelector"]["matchLabels"] for one in of_kind("NetworkPolicy").values()),
        *(one["spec"]["selector"]["matchLabels"] for one in of_kind("PodDisruptionBudget").values()),
        *(one["spec"]["selector"] for one in of_kind("Service").values()),
        *(one["spec"]["selector"]["matchLabels"] for one in of_kind("Deployment").values()),
    ]
    assert all(any(selects(one, template) for template in templates) for one in selectors)
    (scaler,) = of_kind("HorizontalPodAutoscaler").values()
    assert scaler["spec"]["scaleTargetRef"]["name"] in of_kind("Deployment")
    assert scaler["spec"]["metrics"][0]["external"]["metric"]["selector"]["matchLabels"] == {
        "queue": settings()["AGENTEXEC_QUEUE_NAME"]
    }


def test_the_network_lets_through_what_each_pod_needs_and_no_more() -> None:
    policies = [one["spec"] for one in of_kind("NetworkPolicy").values()]
    for name, template in pods().items():
        mine = [one for one in policies if selects(one["podSelector"]["matchLabels"], template)]
        out = {port["port"] for one in mine for rule in one.get("egress", []) for port in rule["ports"]}
        into = {port["port"] for one in mine for rule in one.get("ingress", []) for port in rule["ports"]}
        ports = {one["containerPort"] for it in template["spec"]["containers"] for one in it.get("ports", [])}
        component = template["metadata"]["labels"]["app.kubernetes.io/component"]
        assert out == {53, 5432, 6432, 6379, 26379} | ({443} if component == "worker" else set()), name
        assert ports <= into <= {8000, 9100}, name
        assert any(set(one["policyTypes"]) == {"Ingress", "Egress"} for one in mine), name


def test_each_secret_of_the_compose_file_is_written_and_used(secrets: Path) -> None:
    declared = composed()["secrets"]
    assert {one["file"] for one in declared.values()} == {
        f"${{SECRETS:-./secrets}}/{name}" for name in declared
    }
    assert declared.keys() <= {path.name for path in secrets.iterdir()}
    for name, service in composed()["services"].items():
        given = set(service.get("secrets", []))
        named = {
            value.removeprefix("/run/secrets/")
            for value in service.get("environment", {}).values()
            if value.startswith("/run/secrets/")
        }
        assert named <= given <= declared.keys(), name
    used = {one for service in composed()["services"].values() for one in service.get("secrets", [])}
    assert used == declared.keys()


def test_the_secrets_are_for_their_owner_and_lead_to_the_services(secrets: Path) -> None:
    assert secrets.stat().st_mode & 0o777 == 0o700
    services = composed()["services"].keys()
    certificate = run("openssl", "x509", "-in", secrets / "server_crt", "-noout", "-ext", "subjectAltName")
    database, owner = (
        urlsplit((secrets / one).read_text()) for one in ("database_url", "owner_database_url")
    )
    redis = (secrets / "redis_url").read_text().strip()
    sentinels = [one.partition(":")[0] for one in redis.partition("@")[2].partition("/")[0].split(",")]
    for host in (database.hostname, owner.hostname, *sentinels, "redis-primary", "redis-replica"):
        assert host in services
        assert f"DNS:{host}" in certificate.stdout
    assert parse_qs(database.query)["sslmode"] == parse_qs(owner.query)["sslmode"] == ["verify-full"]
    assert redis.startswith("rediss+sentinel://")
    assert (secrets / "pgbouncer_users").read_text() == f'"{database.username}" "{database.password}"\n'


def test_secrets_in_use_are_not_replaced(secrets: Path) -> None:
    before = (secrets / "app_password").read_text()
    done = run("sh", DEPLOY / "compose" / "make-secrets.sh", secrets)
    assert done.returncode == 1
    assert "exists" in done.stderr
    assert (secrets / "app_password").read_text() == before


def test_with_secrets_gives_a_command_the_content_of_files(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://a:b@c/d?e=f g\n")
    certificate = tmp_path / "certificate"
    done = run(
        WITH_SECRETS,
        "env",
        DATABASE_URL_FILE=str(tmp_path / "url"),
        SSL_CERT_FILE=str(certificate),
        AGENTEXEC_NUM_WORKERS="2",
    )
    given = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert given["DATABASE_URL"] == "postgresql://a:b@c/d?e=f g"
    assert given["SSL_CERT_FILE"] == str(certificate)
    assert "DATABASE_URL_FILE" not in given


def test_with_secrets_asks_a_command_for_further_ones() -> None:
    done = run(WITH_SECRETS, "env", SECRETS_COMMAND="printf 'REDIS_URL=redis://:a=b@c\\nTWO=words of it\\n'")
    given = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert (given["REDIS_URL"], given["TWO"]) == ("redis://:a=b@c", "words of it")
    assert "SECRETS_COMMAND" not in given


# The client of Vault, with a secret of version 2 of its store.
VAULT = """#!/bin/sh
[ "$*" = "kv get -format=json -mount=secret agentexec" ] || exit 64
[ -n "$VAULT_TOKEN" ] || { echo "Code: 403. Errors: * permission denied" >&2; exit 2; }
cat <<'END'
{"request_id": "1", "lease_id": "", "renewable": false,
 "data": {"data": {"DATABASE_URL": "postgresql://a:b'c\\"@d/e?f=g h", "AGENTEXEC_API_KEYS": "one,two"},
          "metadata": {"version": 3, "deletion_time": "", "destroyed": false}}}
END
"""


def in_vault(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What `env` prints behind `with-secrets` with the command of the page."""
    (folder / "vault").write_text(VAULT)
    (folder / "vault").chmod(0o755)
    page = (DEPLOY.parent / "docs" / "howto" / "deploy.md").read_text("utf-8")
    [block] = re.findall(r"^```yaml\n(environment:\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    command = YAML(typ="safe").load(block)["environment"]["SECRETS_COMMAND"]
    path = f"{folder}:{os.environ['PATH']}"
    return run(WITH_SECRETS, "env", SECRETS_COMMAND=command, PATH=path, **variables)


def test_with_secrets_takes_what_vault_has(tmp_path: Path) -> None:
    done = in_vault(tmp_path, VAULT_TOKEN="token")
    given = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert given["DATABASE_URL"] == "postgresql://a:b'c\"@d/e?f=g h"
    assert given["AGENTEXEC_API_KEYS"] == "one,two"


def test_a_secret_that_vault_refuses_is_one_sentence(tmp_path: Path) -> None:
    done = in_vault(tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    assert "permission denied" in done.stderr
    assert done.stderr.endswith("with-secrets: SECRETS_COMMAND printed nothing; try it by hand\n")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SECRETS_COMMAND": "echo A=secret; exit 3"}, "SECRETS_COMMAND failed"),
        ({"SECRETS_COMMAND": "echo secret"}, "printed a line that is not NAME=value"),
        ({"REDIS_URL_FILE": "/nowhere/url"}, "REDIS_URL_FILE names /nowhere/url, which cannot be read"),
        ({"API_KEYS_FILE": "/dev/null", "API_KEYS": "secret"}, "API_KEYS and API_KEYS_FILE are both set"),
    ],
)
def test_with_secrets_refuses_what_it_cannot_decide(variables: dict[str, str], message: str) -> None:
    done = run(WITH_SECRETS, "env", **variables)
    assert done.returncode == 78
    assert message in done.stderr
    assert done.stdout == ""
    assert "secret" not in done.stderr.replace("with-secrets", "")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_pass_shellcheck(path: Path) -> None:
    require_package("shellcheck", installed=shutil.which("shellcheck") is not None)
    done = run("shellcheck", path)
    assert done.returncode == 0, done.stdout
    assert os.access(path, os.X_OK)


def test_systemd_knows_each_line_of_the_units(tmp_path: Path) -> None:
    require_package("systemd", installed=shutil.which("systemd-analyze") is not None)
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in (*SYSTEMD.glob("*.service"), *SYSTEMD.glob("*.timer")):
        text = re.sub(r"(/usr/local|/opt/agentexec)/bin/[\w.-]+", str(program), path.read_text("utf-8"))
        (tmp_path / path.name).write_text(text)
    done = run("systemd-analyze", "verify", *sorted(tmp_path.glob("agentexec-*")))
    assert (done.returncode, done.stderr) == (0, "")


@dataclass
class Health:
    """A server that answers with a status, and what it has answered."""

    url: str
    status: int = 200
    answered: list[int] = field(default_factory=list)


@pytest.fixture
def health() -> Iterator[Health]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(found.status)
            self.end_headers()
            found.answered.append(found.status)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Health(f"http://127.0.0.1:{server.server_port}/health/live")
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def test_systemd_hears_of_a_pool_while_it_is_healthy(
    tmp_path: Path, health: Health, eventually: Eventually
) -> None:
    require_package("systemd", installed=all(map(shutil.which, ("curl", "systemd-notify"))))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        # systemd-notify waits until its datagram was read.
        heard: list[bytes] = []
        Thread(target=lambda: heard.extend(iter(lambda: listener.recv(4096), b"")), daemon=True).start()
        variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHED_SECONDS": "0.05"}
        command = [str(SYSTEMD / "watched"), health.url, "sleep", "60"]
        with subprocess.Popen(command, env=os.environ | variables) as process:
            try:
                eventually(lambda: b"WATCHDOG=1" in heard, 30)
                assert Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "it is the command itself"
                assert not Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
                health.status = 503
                eventually(lambda: health.answered.count(503) >= 1, 30)
                before = heard.count(b"WATCHDOG=1")
                eventually(lambda: health.answered.count(503) >= 3, 30)
                assert heard.count(b"WATCHDOG=1") == before
            finally:
                process.send_signal(signal.SIGTERM)
                listener.shutdown(socket.SHUT_RDWR)


def test_haproxy_accepts_its_configuration() -> None:
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    require_package("haproxy", installed=program is not None)
    done = run(str(program), "-c", "-f", DEPLOY / "haproxy" / "haproxy.cfg")
    assert done.returncode == 0, done.stderr
