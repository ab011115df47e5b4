"""CPU and memory of a simulated LLM endpoint, by the process that its meter names."""

from __future__ import annotations

from collections.abc import Sequence

from harness.llm.endpoint_process import EndpointProcess
from harness.load.process_group import ProcessGroup
from harness.load.resources import ENDPOINT_GAUGES, Sample


class EndpointSampler:
    """The endpoint with this process."""

    names: Sequence[str] = tuple(ENDPOINT_GAUGES)

    def __init__(self, process: EndpointProcess) -> None:
        self._pid = process.local_pid
        self._group = ProcessGroup()

    def sample(self) -> Sample:
        if self._pid is None:
            why = "the process of the endpoint is not on this machine"
            return Sample(notes=dict.fromkeys(self.names, why))
        cpu, memory = self._group.look([self._pid])
        return Sample(totals={self.names[0]: cpu}, levels={self.names[1]: memory})

    def close(self) -> None:
        pass
