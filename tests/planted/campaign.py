"""The campaign: every means tried on every defect, one after another, and its complaints."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from harness.environments.base import Environment
from harness.errors import HarnessError
from tests.planted.defect import CHAOS, MEANS, TEST, Defect
from tests.planted.searches import Search, chaos, inside, named_test
from tests.planted.table import enough

ORIGINAL = "none: the true implementation"


class Campaign:
    """Searches by the name of the defect. `complaints` has a sentence for each unexpected result."""

    def __init__(
        self, environment: Environment | None, report: Callable[[str], None], *, means: Sequence[str] = MEANS
    ) -> None:
        """`environment` has to run where chaos runs are among the means."""
        self._environment = environment
        self._report = report
        self._means = means
        self.results: dict[str, list[Search]] = {}
        self.complaints: list[str] = []

    def search_for(self, defect: Defect) -> None:
        """Use every means that can find the defect, the fast ones first."""
        searches = self.results.setdefault(defect.name, [])
        able = defect.able(self._means)
        for means in defect.tried(self._means):
            if means == CHAOS:
                for chaos_run in (defect.scenario, *defect.also):
                    self._chaos(searches, chaos_run, defect)
            elif means == TEST:
                if defect.test:
                    searches.append(self._reported(defect.name, named_test(defect)))
            else:
                with defect.planted():
                    searches.append(self._reported(defect.name, inside(means)()))
        if complaint := enough(defect, searches, able):
            self.complaints.append(complaint)

    def search_original(self, runs: Collection[str]) -> None:
        """Every means without a defect; for chaos, these runs."""
        searches = self.results.setdefault(ORIGINAL, [])
        for means in self._means:
            if means == CHAOS:
                for chaos_run in sorted(runs):
                    self._chaos(searches, chaos_run, None)
            elif means != TEST:  # the suite runs them all
                searches.append(self._reported(ORIGINAL, inside(means)()))
        self.complaints += [
            f"{search.means} found {search.found} in the true implementation"
            for search in searches
            if search.found
        ]

    def _chaos(self, searches: list[Search], chaos_run: str, defect: Defect | None) -> None:
        assert self._environment is not None, "chaos runs need servers"
        name = f"{defect.name if defect else ORIGINAL}, {chaos_run}"
        try:
            search = self._reported(name, chaos(chaos_run, defect, self._environment))
            if defect is not None and chaos_run in defect.also and search.found:
                search = replace(search, found=f"{chaos_run}: {search.found}")
            searches.append(search)
        except HarnessError as error:
            self._report(f"{name}: {error}")
            self.complaints.append(f"{name}: {error}")

    def _reported(self, name: str, search: Search) -> Search:
        said = search.found or "nothing"
        self._report(f"{name}, {search.means}: {said} ({search.tries} tried, {search.seconds:.1f} s)")
        return search
