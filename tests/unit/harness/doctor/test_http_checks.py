"""The API and the metrics, as a small server answers for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Barrier, Thread

import pytest

from harness.doctor.area import Area
from harness.doctor.check import Grade
from harness.doctor.examination import examine, grades
from harness.doctor.http_checks import GAUGES
from harness.doctor.installation import DoctorOptions, Installation
from harness.doctor.registry import CHECKS

LIMIT = 3
# A server that is gone has shown neither that it is right nor that it is wrong.
SKIPPED_WITHOUT = [one.id for one in CHECKS if one.area is Area.HTTP and one.id != "api.live"]
METRICS = "".join(
    f"{name}{label} 1.0\n"
    for name in GAUGES
    for label in (['{server="redis"}'] if "server" in name else [""])
)


@dataclass(kw_only=True)
class Answers:
    """The status and text of each path, and a header of all."""

    paths: dict[str, tuple[int, str]] = field(default_factory=dict)
    origin: str = ""
    url: str = ""
    # All of its parties have to be asked before the first answer.
    together: Barrier | None = None
    # The requests for a task, and how many of them are admitted.
    posted: list[tuple[bytes, str | None]] = field(default_factory=list)
    admitted: int = LIMIT

    def found(self, *, rate_limit_check: bool = True) -> dict[str, Grade]:
        options = DoctorOptions(
            api_url=self.url,
            metrics_url=f"{self.url}/metrics",
            rate_limit_check=rate_limit_check,
            environment={},
        )
        with Installation(options) as site:
            report = examine(
                site, (), today=date(2026, 5, 1), checks=[one for one in CHECKS if one.area is Area.HTTP]
            )
        return {name: grade for name, grade in grades(report).items() if grade is not Grade.PASS}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    monkeypatch.setenv("AGENTEXEC_API_RATE_LIMIT", f"{LIMIT}/minute")
    monkeypatch.setenv("AGENTEXEC_API_KEYS", "the-key-of-the-callers, the-newest-of-all-keys,")
    answers = Answers(
        paths={
            "/health/live": (200, "{}"),
            "/health/ready": (200, "{}"),
            "/api/tasks?page_size=1": (401, "{}"),
            "/metrics": (200, METRICS),
        }
    )

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answers.posted.append((body, self.headers["Authorization"]))
            if answers.together is not None and len(answers.posted) == 1:
                answers.together.wait()
            self.send_response(422 if len(answers.posted) <= answers.admitted else 429)
            self.end_headers()

        def do_GET(self) -> None:
            if answers.together is not None:
                answers.together.wait()
            status, text = answers.paths.get(self.path, (404, ""))
            self.send_response(status)
            if answers.origin:
                self.send_header("Access-Control-Allow-Origin", answers.origin)
            if 300 <= status < 400:
                self.send_header("Location", "/health/live")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        answers.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield answers
        server.shutdown()
        thread.join()


def test_the_rate_limit_is_asked_for_on_demand_by_requests_that_create_no_task(answers: Answers) -> None:
    assert answers.found(rate_limit_check=False) == {"api.rate-limit": Grade.SKIP}
    assert answers.posted == []
    assert answers.found() == {}
    assert answers.posted == [(b"{}", "Bearer the-newest-of-all-keys")] * (LIMIT + 1)


def test_an_api_without_a_limit_is_found(answers: Answers) -> None:
    answers.admitted = 100
    assert answers.found() == {"api.rate-limit": Grade.FAIL}
    assert len(answers.posted) == LIMIT + 1


def test_all_answers_are_waited_for_together(answers: Answers) -> None:
    answers.together = Barrier(sum(one.area is Area.HTTP for one in CHECKS), timeout=20)
    assert answers.found() == {}


def test_a_good_api_passes(answers: Answers) -> None:
    assert answers.found() == {}


@pytest.mark.parametrize(
    ("path", "answer", "check", "grade"),
    [
        ("/health/live", (500, ""), "api.live", Grade.FAIL),
        ("/health/live", (302, ""), "api.live", Grade.FAIL),
        ("/health/ready", (503, '{"errors": ["redis: gone"]}'), "api.ready", Grade.FAIL),
        ("/api/tasks?page_size=1", (200, "{}"), "api.keys", Grade.FAIL),
        ("/metrics", (200, METRICS.replace("agentexec_dlq_depth", "other")), "metrics.names", Grade.FAIL),
        (
            "/metrics",
            (200, METRICS.replace('{server="redis"} 1.0', '{server="redis"} 0.0')),
            "metrics.servers-up",
            Grade.WARN,
        ),
    ],
)
def test_a_mistake_is_found_alone(
    answers: Answers, path: str, answer: tuple[int, str], check: str, grade: Grade
) -> None:
    answers.paths[path] = answer
    assert answers.found() == {check: grade}


@pytest.mark.parametrize(
    ("origin", "wrong"), [("*", True), ("https://doctor.invalid", True), ("https://own", False)]
)
def test_an_api_that_answers_every_page_is_found(answers: Answers, origin: str, wrong: bool) -> None:
    answers.origin = origin
    assert answers.found() == ({"api.cors": Grade.FAIL} if wrong else {})


def test_metrics_behind_a_key_are_skipped_and_an_api_that_is_gone_fails(answers: Answers) -> None:
    answers.paths["/metrics"] = (401, "")
    assert answers.found() == {"metrics.names": Grade.SKIP, "metrics.servers-up": Grade.SKIP}
    with_login = answers.url.replace("://", "://user:hunter2@")
    answers.url, answers.paths["/metrics"] = with_login, (200, METRICS)
    assert answers.found() == {}
    answers.url = "http://user:hunter2@127.0.0.1:1"
    assert answers.found() == {"api.live": Grade.FAIL} | dict.fromkeys(SKIPPED_WITHOUT, Grade.SKIP)
    answers.url = "file:///etc"
    assert set(answers.found().values()) == {Grade.SKIP}
