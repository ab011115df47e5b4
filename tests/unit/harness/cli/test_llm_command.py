"""`harness llm serve` and `harness llm costs`, as a process and as functions."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from harness.cli import main
from harness.history.operation import Operation, OperationType
from harness.llm import bench
from harness.llm.meter import Meter, RequestOutcome
from tests.support.environment import ROOT


@contextmanager
def served(*options: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own."""
    command = [sys.executable, "-m", "harness", "llm", "serve", "--port", "0", *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def printed(process: subprocess.Popen[str]) -> dict[str, str]:
    """The environment variables of the first lines, and the URL that comes first."""
    assert process.stdout is not None
    url, *exports = (process.stdout.readline().strip() for _ in range(3))
    variables = dict(line.removeprefix("export ").split("=", 1) for line in exports)
    assert variables["OPENAI_BASE_URL"] == url
    return variables


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_writes_its_meter(number: signal.Signals, tmp_path: Path) -> None:
    file = tmp_path / "meter.json"
    with served("--time-scale", "1000", "--meter", str(file), "--output-tokens", "10") as process:
        variables = printed(process)
        with openai.OpenAI(
            base_url=variables["OPENAI_BASE_URL"], api_key=variables["OPENAI_API_KEY"]
        ) as client:
            for _ in range(2):
                client.responses.create(
                    model="m", input="x", extra_headers={"X-Activity-Id": "a", "X-Activity-Step": "1"}
                )
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert err == ""
    assert out.splitlines()[-1].startswith("stopped after 2 requests and ")
    assert main(["llm", "costs", str(file), "--budget", "again < 60%, steps again = 1"]) == 0
    assert main(["llm", "costs", str(file), "--budget", "again < 40%"]) == 1
    assert main(["llm", "costs", str(file), "--budget", "money < 40"]) == 2
    assert main(["llm", "costs", str(file), "--activity", "other"]) == 2


def test_a_stream_that_runs_at_sigterm_is_cut_and_billed(tmp_path: Path) -> None:
    file = tmp_path / "meter.json"
    with served("--first-token", "0.01", "--per-token", "0.1", "--meter", str(file)) as process:
        variables = printed(process)
        with openai.OpenAI(base_url=variables["OPENAI_BASE_URL"], api_key="simulated-x") as client:
            stream = iter(client.responses.create(model="m", input="x", stream=True))
            while next(stream).type != "response.output_text.delta":
                pass
            process.terminate()
            with pytest.raises(openai.APIConnectionError):
                list(stream)
        process.communicate(timeout=20)
    assert process.returncode == 0
    (request,) = json.loads(file.read_text("utf-8"))["requests"]
    assert request["outcome"] == "cut"
    assert request["completion_tokens"] >= request["sent_tokens"] >= 1


def test_without_its_extra_the_endpoint_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert main(["llm", "serve", "--port", "0"]) == 64
    assert capsys.readouterr().err == (
        "harness: The simulated endpoint needs the package aiohttp. Install agentexec-harness[llm].\n"
    )


def test_a_history_of_another_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meter = Meter()
    labels = dict.fromkeys(("activity", "step", "client_id"), "x")
    meter.end(
        meter.begin(id="r", key="k", api="chat", model="m", stream=False, **labels), RequestOutcome.COMPLETE
    )
    (tmp_path / "meter.json").write_text(json.dumps(meter.records()), "utf-8")
    operation = Operation(time=1, process="client", type=OperationType.INFO, f="submit")
    (tmp_path / "history.jsonl").write_text(operation.to_json() + "\n", "utf-8")
    for history, why in (("history.jsonl", "no time in common"), ("none", "no history")):
        given = [str(tmp_path / "meter.json"), "--history", str(tmp_path / history)]
        assert main(["llm", "costs", *given]) == 64
        assert why in capsys.readouterr().err


def test_a_taken_port_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["llm", "serve", "--port", port]) == 64
    assert capsys.readouterr().err == (
        f"harness: Port {port} of 127.0.0.1 is taken; give another one with --port, or 0 for a free one.\n"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        ["serve", "--port", "65536"],
        ["serve", "--disturb", "none"],
        ["serve", "--first-token", "slow"],
        ["serve", "--profile", "none.json"],
        ["serve", "--meter", "none/meter.json"],
        ["serve", "--host", "192.0.2.1"],
        ["costs", "none.json"],
        ["costs", "none.json", "--budget", "x"],
    ],
)
def test_wrong_usage_is_one_sentence(
    wrong: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["llm", *wrong]) == 64
    error = capsys.readouterr().err
    assert error.startswith("harness: ")
    assert error.count("\n") == 1


def test_an_endpoint_that_is_away_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["llm", "costs", "http://127.0.0.1:1/v1"]) == 2
    assert "does not answer" in capsys.readouterr().err


def test_costs_as_json_with_prices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meter, prices = tmp_path / "meter.json", tmp_path / "prices.json"
    meter.write_text('{"requests": [], "tool_runs": [], "dropped_records": 0}', "utf-8")
    prices.write_text('{"models": {"*": {"input": 1, "cached": 0.1, "output": 4}}}', "utf-8")
    assert main(["llm", "costs", str(meter), "--prices", str(prices), "--json", "--budget", "money < 1"]) == 2
    value = json.loads(capsys.readouterr().out)
    assert value["total"]["money"] == "0"
    assert value["budget"] == {"money < 1": True}, "no request has cost nothing, and is no evidence"


def test_the_bench_reads_every_event_and_judges_by_its_bound(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--streams", "20", "--rate", "20", "--seconds", "1"]
    assert bench.main([*asked, "--bound-ms", "60000"]) == 0
    assert "20 streams ended" in capsys.readouterr().out
