"""Every error of a request is reported before anything is started."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import UsageError
from loadtests.profiles import SMOKE
from loadtests.request import LoadRequest
from loadtests.run import history_folder, locust_command, main
from loadtests.slo import Slo

DATABASE = "postgresql://user:geheim@127.0.0.1:5432/staging"
EXTERNAL = ["--backend", "external", "--database-url", DATABASE, "--redis-url", "redis://127.0.0.1"]


@pytest.fixture(autouse=True)
def no_servers_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_DATABASE_URL", raising=False)
    monkeypatch.delenv("HARNESS_REDIS_URL", raising=False)


def test_without_options_it_is_the_smoke_profile_on_embedded_servers() -> None:
    request = LoadRequest.parse([])
    assert request.profile == SMOKE
    assert request.environment.name == "embedded"
    assert request.report.parent == Path("reports")


def test_options_replace_parts_of_the_profile() -> None:
    request = LoadRequest.parse(
        ["--profile", "burst", "--duration", "5", "--users", "3", "--workers", "0", "--slo", "rate_ratio=0.5"]
    )
    chosen = request.profile
    assert (chosen.name, chosen.duration, chosen.users, chosen.workers) == ("burst", 5.0, 3, 0)
    assert request.slo.rate_ratio == 0.5
    assert request.slo.end_to_end_p95_ms != Slo().end_to_end_p95_ms, "the rest is the profile's own"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--profile", "soak"], "smoke, steady, burst"),
        (["--duration", "soon"], "number from 1 to 3600"),
        (["--duration", "nan"], "number from 1 to 3600"),
        (["--duration", "3601"], "number from 1 to 3600"),
        (["--users", "2.5"], "whole number from 1 to 2000"),
        (["--users", "0"], "whole number from 1 to 2000"),
        (["--workers", "-1"], "whole number from 0 to 64"),
        (["--slo", "speed=1"], "no service level 'speed'"),
        (["--fast"], "Unrecognized arguments: --fast"),
        (["--redis-url", "redis://127.0.0.1"], "no meaning with --backend embedded"),
        (["--allow-load", "staging"], "no meaning with --backend embedded"),
        (["--backend", "external"], "HARNESS_DATABASE_URL"),
        (EXTERNAL[:4], "HARNESS_REDIS_URL"),
        (EXTERNAL, "--allow-load staging"),
        ([*EXTERNAL, "--allow-load", "other"], "--allow-load staging"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_exit_code_64(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 64
    out, said = capsys.readouterr()
    assert out == ""
    assert said.startswith("loadtests: ")
    assert sentence in said
    assert said.count("\n") == 1
    assert "geheim" not in said


def test_an_external_request_is_let_through_where_the_database_is_named() -> None:
    assert LoadRequest.parse([*EXTERNAL, "--allow-load", "staging"]).environment.name == "external"


def test_the_urls_of_external_servers_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATABASE_URL", DATABASE)
    monkeypatch.setenv("HARNESS_REDIS_URL", "redis://127.0.0.1")
    arguments = ["--backend", "external", "--allow-load", "staging"]
    assert LoadRequest.parse(arguments).environment.name == "external"
    with pytest.raises(UsageError, match="--allow-load staging"):
        LoadRequest.parse(arguments[:2])


def test_a_report_folder_that_cannot_be_written_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["--report", str(tmp_path / "file" / "report")]) == 64
    assert "cannot be written" in capsys.readouterr().err


def test_locust_gets_the_profile_and_no_url() -> None:
    words = locust_command(LoadRequest.parse([]), "postgres", Path("report")).words()
    assert "://" not in " ".join(words)
    for option, value in {"--load-users": "20", "--run-time": "20s", "--load-profile": "smoke"}.items():
        assert words[words.index(option) + 1] == value


def test_the_runner_itself_never_imports_what_patches_the_standard_library() -> None:
    look = "import loadtests.run, sys; print([name for name in ('gevent', 'locust') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_run_deletes_nothing_in_its_report_folder_and_shares_no_history(tmp_path: Path) -> None:
    own = tmp_path / "history" / "notes.log"
    own.parent.mkdir()
    own.write_text("mine", "utf-8")
    first, second = history_folder(tmp_path), history_folder(tmp_path)
    assert len({own.parent, first, second}) == 3
    assert own.read_text("utf-8") == "mine"
    assert list(first.iterdir()) == list(second.iterdir()) == []
    assert history_folder(tmp_path / "new") == tmp_path / "new" / "history"
