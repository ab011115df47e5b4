"""The reference implementation is recognized, and another package of its name is named with the remedy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import UsageError
from harness.scenario import registry
from harness.targets import reference
from harness.targets.reference import require_reference
from tests.house.sources import ROOT

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put files of a distribution (None: of none) into a folder that replaces the checkout on the path."""
    site = tmp_path / "site-packages"
    site.mkdir()
    elsewhere = [entry for entry in sys.path if entry and not (Path(entry) / "agentexec").exists()]
    monkeypatch.setattr(sys, "path", [str(site), *elsewhere])
    monkeypatch.delitem(sys.modules, "agentexec", raising=False)
    monkeypatch.chdir(tmp_path)

    def install(distribution: str | None, *files: str) -> Path:
        for file in files:
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            (site / file).touch()
        if distribution is not None:
            information = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
            information.mkdir()
            (information / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
            )
            (information / "RECORD").write_text("".join(f"{file},,\n" for file in files))
        return site

    return install


REFERENCE = [str(path.relative_to(ROOT)) for path in (ROOT / "agentexec").rglob("*.py")]


def complaint() -> str:
    with pytest.raises(UsageError) as raised:
        require_reference("The simulation")
    return str(raised.value)


def test_the_reference_of_this_checkout_is_accepted() -> None:
    require_reference("The simulation")


def test_an_installed_reference_is_accepted(install: Install) -> None:
    """Compiled files and the command are no part of the package: they may be elsewhere or removed."""
    compiled, command = "agentexec/__pycache__/task.pyc", "../bin/agentexec"
    site = install("agentexec-reference", *REFERENCE, compiled, command)
    (site / compiled).unlink()
    (site / command).unlink()
    require_reference("The simulation")


def test_without_the_reference_one_sentence_says_how_to_install_it(install: Install) -> None:
    install("another", "another.py")
    assert complaint() == (
        "The simulation needs the reference implementation, which is not installed; "
        "run `pip install agentexec-reference`, or from a checkout `pip install -e '.[reference]'`."
    )


@pytest.mark.parametrize(
    "files",
    [
        ["agentexec/__init__.py", "agentexec/activity/__init__.py", "agentexec/core/db.py"],
        ["agentexec.py"],
        ["agentexec/anything.txt"],
        REFERENCE,
    ],
)
@pytest.mark.parametrize("distribution", ["agentexec", "agentexec-of-others"])
def test_another_distribution_with_this_package_is_named(
    install: Install, distribution: str, files: list[str]
) -> None:
    install(distribution, *files)
    assert f" of {distribution} is another package `agentexec`, mixed with one, or damaged; " in complaint()
    assert f"run `pip uninstall {distribution}`, and then `pip install agentexec-reference`" in complaint()


def test_both_in_one_folder_are_a_mixture(install: Install) -> None:
    install("agentexec-reference", *REFERENCE)
    install("agentexec", "agentexec/__init__.py", "agentexec/pipeline.py")
    assert (
        " of agentexec and agentexec-reference is another package `agentexec`, mixed with one, or damaged; "
        in complaint()
    )
    assert "run `pip uninstall agentexec agentexec-reference`, and then" in complaint()


def test_what_an_uninstalled_mixture_left_is_repaired_by_an_installation(install: Install) -> None:
    install("agentexec-reference", *REFERENCE)
    (Path(sys.path[0]) / "agentexec" / "activity" / "__init__.py").unlink()
    assert "run `pip uninstall agentexec-reference`, and then" in complaint()


@pytest.mark.parametrize("file", ["agentexec/__init__.py", "agentexec.py"])
def test_a_folder_or_file_of_this_name_in_the_current_folder_is_found(
    install: Install, file: str, tmp_path: Path
) -> None:
    install("agentexec-reference", *REFERENCE)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    with pytest.raises(UsageError) as raised:
        registry.target("agentexec")
    place = tmp_path.resolve() / Path(file).parts[0]
    assert f"but {place} is another package `agentexec`, mixed with one, or damaged; rename it" in str(
        raised.value
    )


@pytest.mark.parametrize("target", ["agentexec", "harness.targets.agentexec_target:TARGET"])
def test_the_target_says_so_before_anything_starts_and_names_another_way(
    install: Install, target: str
) -> None:
    install(None)
    with pytest.raises(
        UsageError, match=f"^The target {target} needs .* or name another with --target package"
    ):
        registry.target(target)


def test_the_simulation_says_so(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("agentexec", "agentexec/__init__.py")
    assert main(["simulate", "--seeds", "1"]) == 64
    assert "harness: The simulation needs the reference implementation, but" in capsys.readouterr().err


def test_packages_that_the_reference_lacks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_DEPENDENCIES", ("redis", "not_installed", "sqlalchemy"))
    assert "which lacks not_installed; run `pip install" in complaint()
