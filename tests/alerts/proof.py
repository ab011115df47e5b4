"""One run: quiet first, then every case, until nothing fires any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.alerts.cases import CASES, Case
from tests.alerts.installation import Installation, enqueue, wait_until
from tests.alerts.monitoring import Firing
from tests.alerts.rules import alerts
from tests.alerts.scaling import FACTOR

SLACK_SECONDS = 15.0  # after its `for`, an alert has to fire within these
QUIET_SECONDS = 60.0  # longer than the longest range and the longest `for` together, scaled: 45 s
RESOLVED_SECONDS = 90.0
POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Proven:
    """One alert that fired: how long after its cause, and its summary."""

    alert: str
    what: str
    seconds: float
    summary: str


@dataclass(kw_only=True)
class Proof:
    """What a run found so far; `wrong` is empty if everything was as it has to be."""

    site: Installation
    say: Callable[[str], None]
    proven: list[Proven] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    resolving: set[str] = field(default_factory=set)  # alerts of earlier cases, which may still fire

    def run(self) -> None:
        """The quiet time, every case, and the end."""
        self.stay_quiet()
        for case in CASES:
            self.make(case)
        self.resolve()

    def stay_quiet(self) -> None:
        """Nothing fires while pools are replaced, a worker dies, tasks are retried and 900 come at once."""
        wait_until(lambda: not self.site.prometheus.firing())  # it has just found its targets
        self.say(f"quiet for {QUIET_SECONDS:g} s")
        end = time.monotonic() + QUIET_SECONDS
        for disturb in (self._one_death, self._burst, self._roll_out):
            disturb()
            self._expect_nothing()
        while time.monotonic() < end:
            self._expect_nothing()
            time.sleep(POLL_SECONDS)

    def make(self, case: Case) -> None:
        """Let the cause happen, wait for its alerts, repair it."""
        self.say(f"{', '.join(case.alerts)}: {case.what}")
        waiting = {one.name: one.hold_seconds / FACTOR + SLACK_SECONDS for one in alerts()}
        waiting = {name: waiting[name] for name in case.alerts}
        known = self.resolving | set(case.alerts) | set(case.also)
        with self._nothing_but(known), case.cause(self.site):
            began = time.monotonic()
            while waiting and time.monotonic() < began + max(waiting.values()):
                passed = time.monotonic() - began
                for one in self._firing(known):
                    if one.name in waiting:
                        self._note(case, one, passed, at_most=waiting.pop(one.name))
                time.sleep(POLL_SECONDS)
        self.wrong += [f"{name} did not fire within its `for` and 15 s" for name in waiting]
        self.resolving |= known

    def resolve(self) -> None:
        """Every alert ends once its cause is repaired."""
        self.say("waiting until nothing fires")
        end = time.monotonic() + RESOLVED_SECONDS
        while (left := self.site.prometheus.firing()) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        self.wrong += [f"{one.name} still fires" for one in left]

    def _note(self, case: Case, one: Firing, passed: float, *, at_most: float) -> None:
        self.say(f"  {one.name} fires after {passed:.1f} s: {one.summary}")
        self.proven.append(
            Proven(alert=one.name, what=case.what, seconds=round(passed, 1), summary=one.summary)
        )
        if "<" in one.summary:  # a template that failed, or `<no value>`
            self.wrong.append(f"the summary of {one.name} is {one.summary!r}")
        if passed > at_most:
            self.wrong.append(f"{one.name} fired after {passed:.1f} s, later than {at_most:.1f} s")

    @contextmanager
    def _nothing_but(self, known: set[str]) -> Iterator[None]:
        """See also before and after the block that no other alert fires."""
        self._firing(known)
        yield
        self._firing(known)

    def _expect_nothing(self) -> None:
        self._firing(set())

    def _firing(self, known: set[str]) -> list[Firing]:
        """The alerts that fire; each that is not among the known ones is wrong."""
        found = self.site.prometheus.firing()
        for one in found:
            complaint = f"{one.name} fires without a cause: {one.summary}"
            if one.name not in known and complaint not in self.wrong:
                self.wrong.append(complaint)
                self.say(f"  {complaint}")
        return found

    def _one_death(self) -> None:
        self.site.kill_worker(self.site.pools[0])

    def _burst(self) -> None:
        enqueue(self.site.client, *["echo"] * 900)
        wait_until(self.site.nothing_ready)

    def _roll_out(self) -> None:
        for old in list(self.site.pools):
            self.site.start_pool()
            self.site.retire(old)
