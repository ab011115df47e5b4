"""`python -m tests.alerts`: prove every alert, and write what was measured into docs/howto/alerts.md.

Needs Debian's packages prometheus, prometheus-redis-exporter and prometheus-postgres-exporter. The picture of the
dashboard, docs/dashboard.svg, is drawn from the same run.

Exit codes: 0 if every alert fired in time and none without a cause, 1 if not, 2 if a program is missing.
"""

from __future__ import annotations

import sys
import time
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.alerts.dashboard import Panel, PanelQuery, panels
from tests.alerts.installation import watched_installation
from tests.alerts.monitoring import Prometheus, missing_programs
from tests.alerts.picture import Curve, picture
from tests.alerts.proof import Proof
from tests.alerts.record import PAGE, save
from tests.alerts.rules import alerts
from tests.alerts.scaling import SCRAPE_SECONDS
from tests.house.sources import ROOT

STEP = SCRAPE_SECONDS  # between two samples of the picture
PICTURE = ROOT / "docs" / "dashboard.svg"


def main() -> int:
    """Run it; returns the exit code."""
    if missing := missing_programs():
        print(f"alerts: not installed: {', '.join(missing)}; run apt-get install {' '.join(missing)}")
        return 2
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {text}", flush=True)

    say("starting servers, exporters, an API, two pools and Prometheus")
    with TemporaryDirectory(prefix="alerts-") as folder, watched_installation(Path(folder)) as site:
        begin = time.time()
        proof = Proof(site=site, say=say)
        proof.run()
        end = time.time()
        drawings = [(panel, _curves(site.prometheus, panel, begin, end)) for panel in panels()]
    wrong = proof.wrong + [
        f"the panel {panel.title!r} has no data for {query.expression}"
        for panel, answers in drawings
        for query in panel.queries
        if not any(answers[query])
    ]
    for complaint in wrong:
        say(f"WRONG: {complaint}")
    if not wrong:
        save(proof.proven)
        PAGE.write()
        PICTURE.write_text(
            picture([(p, list(chain(*a.values()))) for p, a in drawings], begin, end, STEP), "utf-8"
        )
    say(f"{len(proof.proven)} of {len(alerts())} alerts fired in time, {len(wrong)} complaints")
    return int(bool(wrong))


def _curves(prometheus: Prometheus, panel: Panel, begin: float, end: float) -> dict[PanelQuery, list[Curve]]:
    """The answers to each query of a panel; what was never above 0 is data too."""
    return {
        query: [
            Curve(name=query.name_of(labels), samples=samples)
            for labels, samples in prometheus.over_time(query.expression, begin, end, STEP)
        ]
        for query in panel.queries
    }


if __name__ == "__main__":
    sys.exit(main())
