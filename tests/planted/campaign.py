"""The campaign: every means tried on every defect, one after another, and its complaints."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from harness.environments.base import Environment
from harness.errors import HarnessError
from tests.planted.defect import CHAOS, MEANS, Defect
from tests.planted.looks import Look, chaos, inside
from tests.planted.table import enough

TRUTH = "none: the true implementation"


class Campaign:
    """Collects looks by the name of the defect; `complaints` are sentences, empty where all is as it should be."""

    def __init__(
        self, environment: Environment | None, tell: Callable[[str], None], *, means: Sequence[str] = MEANS
    ) -> None:
        """`environment` has to run where chaos runs are among the means."""
        self._environment = environment
        self._tell = tell
        self._means = means
        self.results: dict[str, list[Look]] = {}
        self.complaints: list[str] = []

    def look_for(self, defect: Defect) -> None:
        """Every means that can find the defect, the fast ones first."""
        looks = self.results.setdefault(defect.name, [])
        able = [means for means in self._means if means not in defect.blind]
        for means in able:
            if means == CHAOS:
                self._chaos(looks, defect.scenario, defect)
            else:
                with defect.planted():
                    looks.append(self._told(defect.name, inside(means)()))
        if complaint := enough(defect, looks, able):
            self.complaints.append(complaint)

    def look_at_the_truth(self, courses: Collection[str]) -> None:
        """Every means without a defect, chaos runs in these courses."""
        looks = self.results.setdefault(TRUTH, [])
        for means in self._means:
            if means == CHAOS:
                for course in sorted(courses):
                    self._chaos(looks, course, None)
            else:
                looks.append(self._told(TRUTH, inside(means)()))
        self.complaints += [
            f"{look.means} found {look.found} in the true implementation" for look in looks if look.found
        ]

    def _chaos(self, looks: list[Look], course: str, defect: Defect | None) -> None:
        assert self._environment is not None, "chaos runs need servers"
        name = f"{defect.name if defect else TRUTH}, {course}"
        try:
            looks.append(self._told(name, chaos(course, defect, self._environment)))
        except HarnessError as error:
            self._tell(f"{name}: {error}")
            self.complaints.append(f"{name}: {error}")

    def _told(self, name: str, look: Look) -> Look:
        said = look.found or "nothing"
        self._tell(f"{name}, {look.means}: {said} ({look.tries} tried, {look.seconds:.1f} s)")
        return look
