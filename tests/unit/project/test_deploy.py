"""The files for Locust in containers: their schemas, their options, and no password in any of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "locust"
COMPOSE, KUBERNETES = FOLDER / "compose.yaml", FOLDER / "kubernetes.yaml"
SECRETS = {"DATABASE_URL", "REDIS_URL"}
# Reads the options as Locust does with a locustfile of `harness.load`, and prints the variables that it knows.
OPTIONS = """
import json, sys
import harness.load.locust_events
from locust.argument_parser import get_parser
parser = get_parser()
_, unknown = parser.parse_known_args(sys.argv[1:])
print(json.dumps([unknown, [action.env_var for action in parser._actions if getattr(action, "env_var", None)]]))
"""


def done(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=60, check=False
    )


def objects() -> list[Any]:
    return list(YAML(typ="safe").load_all(KUBERNETES))


def jobs() -> dict[str, Any]:
    """The template of the pod of each Job."""
    return {one["metadata"]["name"]: one["spec"]["template"] for one in objects() if one["kind"] == "Job"}


def pods() -> dict[str, Any]:
    return {name: template["spec"] for name, template in jobs().items()}


def services() -> Mapping[str, Any]:
    found: Mapping[str, Any] = YAML(typ="safe").load(COMPOSE)["services"]
    return found


def commands() -> Iterator[list[str]]:
    """The options of each container of both files."""
    for pod in pods().values():
        yield from (container["args"] for container in pod["containers"])
    for service in services().values():
        yield [re.sub(r"\$\{\w+:-(\w[^}]*)\}|\$\{[^}]+\}", r"\1", word) for word in service["command"]]


def test_the_kubernetes_objects_have_the_schema_of_several_versions() -> None:
    versions = [word for version in ("1.30", "1.37") for word in ("-k", version)]
    checked = done("-m", "kubernetes_validate", "--strict", *versions, KUBERNETES)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("passed") == 2 * len(objects()) == 10


def test_the_compose_file_has_the_schema_of_its_specification() -> None:
    checked = done("-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_locust_knows_each_option_and_each_variable() -> None:
    words = [word for command in commands() for word in command]
    checked = done("-c", OPTIONS, *words)
    assert checked.returncode == 0, checked.stderr
    unknown, variables = json.loads(checked.stdout)
    assert unknown == []
    (config,) = (one["data"] for one in objects() if one["kind"] == "ConfigMap")
    assert config.keys() <= set(variables)


def test_the_master_expects_as_many_workers_as_there_are() -> None:
    (worker,) = (one["spec"] for one in objects() if one["metadata"]["name"] == "load-worker")
    (master,) = pods()["load-master"]["containers"]
    assert f"--expect-workers={worker['parallelism']}" in master["args"]
    assert worker["completions"] == worker["parallelism"]
    replicas = services()["worker"]["deploy"]["replicas"]
    assert f"--expect-workers={replicas}" in services()["master"]["command"]


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_no_file_has_a_password(path: Path) -> None:
    assert not re.search(r"://[^\s/]*:[^\s/]*@|password\s*[:=]", path.read_text("utf-8"), re.IGNORECASE)


def test_the_servers_are_given_by_reference_only() -> None:
    for pod in pods().values():
        for container in pod["containers"]:
            given = {one["name"]: one["valueFrom"]["secretKeyRef"]["name"] for one in container["env"]}
            assert given == dict.fromkeys(SECRETS, "load-servers")
    assert not any(one["kind"] == "Secret" for one in objects())
    for service in services().values():
        assert all(service["environment"][name].startswith(f"${{{name}:?") for name in SECRETS)


def test_each_container_is_bounded_and_has_no_rights() -> None:
    for pod in pods().values():
        assert (pod["restartPolicy"], pod["securityContext"]["runAsNonRoot"]) == ("Never", True)
        for container in pod["containers"]:
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for service in services().values():
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
        assert (service["restart"], service["cap_drop"], service["read_only"]) == ("no", ["ALL"], True)


def test_a_master_has_probes_at_the_port_that_its_service_names() -> None:
    (service,) = (one["spec"] for one in objects() if one["kind"] == "Service")
    (master,) = pods()["load-master"]["containers"]
    (port,) = master["ports"]
    assert [one["targetPort"] for one in service["ports"]] == [port["name"]]
    assert {master[probe]["tcpSocket"]["port"] for probe in ("startupProbe", "readinessProbe")} == {
        port["name"]
    }
    assert service["selector"] == jobs()["load-master"]["metadata"]["labels"]
