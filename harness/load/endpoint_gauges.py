"""CPU and memory of a simulated LLM endpoint, by the process that its meter names."""

from __future__ import annotations

from collections.abc import Sequence

from harness.load.gauges import Sample
from harness.load.process_group import ProcessGroup
from harness.load.resources import ENDPOINT_GAUGES
from harness.load.worker_gauges import local_pid


class EndpointSampler:
    """The endpoint whose process has this identity."""

    names: Sequence[str] = tuple(ENDPOINT_GAUGES)

    def __init__(self, identity: str) -> None:
        self._pid = local_pid(identity)
        self._group = ProcessGroup()

    def sample(self) -> Sample:
        if self._pid is None:
            why = "the process of the endpoint is not on this machine"
            return Sample(notes=dict.fromkeys(self.names, why))
        cpu, memory = self._group.look([self._pid])
        return Sample(totals={self.names[0]: cpu}, levels={self.names[1]: memory})

    def close(self) -> None:
        pass
