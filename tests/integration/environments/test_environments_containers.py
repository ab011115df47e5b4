"""The containers backend: its image, its published port, and its error without an image."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from harness.environments import engine, ports
from harness.environments.base import SERVICES, Service
from harness.environments.containers import DEFAULT_IMAGES, IMAGE_VARIABLES, ContainersEnvironment, find_image
from harness.environments.images import BUILT_IMAGES, build_images
from harness.errors import EnvironmentUnavailable

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

needs_engine = [pytest.mark.containers, pytest.mark.usefixtures("docker_engine")]


@pytest.fixture
def docker_client(docker_engine: None) -> Iterator[docker.DockerClient]:
    made = engine.connect()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_images_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in IMAGE_VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def another_name(docker_client: docker.DockerClient) -> Iterator[str]:
    """An image by a name that cannot be pulled."""
    name = "agentexec-harness/test-only:renamed"
    docker_client.images.get(find_image(docker_client, "redis")).tag(name)
    yield name
    docker_client.images.remove(name)


@pytest.mark.containers
@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_found_and_is_an_official_one_or_a_built_one(
    docker_client: docker.DockerClient, service: Service
) -> None:
    assert find_image(docker_client, service) in (DEFAULT_IMAGES[service], BUILT_IMAGES[service])


@pytest.mark.containers
def test_an_image_that_is_asked_for_is_taken(
    docker_client: docker.DockerClient, another_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_image(docker_client, "redis", another_name) == another_name
    monkeypatch.setenv("HARNESS_REDIS_IMAGE", another_name)
    assert find_image(docker_client, "redis") == another_name


@pytest.mark.containers
def test_an_image_that_is_asked_for_and_cannot_be_had_is_refused_with_the_remedy(
    docker_client: docker.DockerClient,
) -> None:
    wanted = "127.0.0.1:1/nowhere/redis:0"
    with pytest.raises(EnvironmentUnavailable, match=rf"{wanted} is not present.*HARNESS_REDIS_IMAGE"):
        find_image(docker_client, "redis", wanted)


@pytest.mark.containers
def test_without_any_image_the_remedy_is_to_build_them(
    docker_client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DEFAULT_IMAGES, "redis", "127.0.0.1:1/nowhere/redis:0")
    monkeypatch.setitem(BUILT_IMAGES, "redis", "agentexec-harness/test-only:never-built")
    with pytest.raises(EnvironmentUnavailable, match="harness images build"):
        find_image(docker_client, "redis")


@pytest.mark.containers
def test_a_built_image_is_not_built_again(
    docker_client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in SERVICES:
        monkeypatch.setitem(BUILT_IMAGES, service, find_image(docker_client, service))
    lines: list[str] = []
    assert build_images(lines.append) == [BUILT_IMAGES[service] for service in SERVICES]
    assert [line.split(": ")[1] for line in lines] == ["present already", "present already"]


@pytest.mark.containers
@pytest.mark.usefixtures("docker_engine")
def test_containers_are_published_on_the_loopback_address_only_and_marked() -> None:
    with ContainersEnvironment() as environment:
        made = engine.connect()
        try:
            label = f"agentexec-harness.session={environment.session.id}"
            found = made.containers.list(filters={"label": label})
            assert len(found) == 2
            for container in found:
                published = [p for bound in container.ports.values() if bound for p in bound]
                assert {p["HostIp"] for p in published} == {"127.0.0.1"}
        finally:
            made.close()


@pytest.mark.containers
@pytest.mark.usefixtures("docker_engine")
def test_a_port_that_is_taken_meanwhile_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = int(holder.getsockname()[1])
        chosen = [taken, ports.free_port(), ports.free_port()]
        monkeypatch.setattr(ports, "free_port", lambda: chosen.pop(0))
        with ContainersEnvironment() as environment:
            assert f":{taken}/" not in environment.endpoints.database_url
        assert chosen == []


@pytest.mark.containers
@pytest.mark.usefixtures("docker_engine")
def test_a_container_that_ends_while_it_starts_is_quoted(docker_client: docker.DockerClient) -> None:
    # A Redis that is given Postgres's arguments.
    with pytest.raises(EnvironmentUnavailable, match=r"container of .* is exited: .*embedded backend"):
        ContainersEnvironment(postgres_image=find_image(docker_client, "redis")).start()


def test_an_engine_that_does_not_answer_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    for act in (ContainersEnvironment().start, lambda: build_images(print)):
        with pytest.raises(
            EnvironmentUnavailable, match=r"No Docker engine answers at .*nothing\.sock.*embedded"
        ):
            act()


def test_without_testcontainers_the_extra_to_install_is_named() -> None:
    without = """
import sys
sys.modules["testcontainers"] = None
from harness.environments import make_environment
from harness.errors import EnvironmentUnavailable
try:
    make_environment("containers").start()
except EnvironmentUnavailable as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", without],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert "pip install 'agentexec-harness[containers]'" in done.stdout
    assert done.stderr == ""
