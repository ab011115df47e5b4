"""Agents as they are: a generative model of agent work, with published parameters and four presets.

    from harness.load.agents import AgentModel, PRESETS

    model = AgentModel(PRESETS["coding-agent"], seed=1)
    for work in model.works():          # requests as they reach a queue, without end
        context = work.scaled(0.01).to_value()

`python -m harness.load.agents` prints how well the model meets each published figure.
"""

from harness.load.agents.arrivals import ARRIVALS, ArrivalPattern
from harness.load.agents.model import AgentModel, AgentSession
from harness.load.agents.parameters import (
    AgentParameters,
    Demand,
    LlmTimes,
    SessionSize,
    TokenCounts,
    ToolTimes,
)
from harness.load.agents.performing import perform, step_headers
from harness.load.agents.presets import PRESETS, preset
from harness.load.agents.quantiles import Quantiles
from harness.load.agents.work import AgentCall, AgentStep, AgentWork

__all__ = [
    "ARRIVALS",
    "PRESETS",
    "AgentCall",
    "AgentModel",
    "AgentParameters",
    "AgentSession",
    "AgentStep",
    "AgentWork",
    "ArrivalPattern",
    "Demand",
    "LlmTimes",
    "Quantiles",
    "SessionSize",
    "TokenCounts",
    "ToolTimes",
    "perform",
    "preset",
    "step_headers",
]
