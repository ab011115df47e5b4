"""A simulated LLM endpoint, and what faults cost on it: `harness llm serve`, `harness llm costs`.

    from harness.llm import EndpointProfile, serving

    with serving(EndpointProfile(seed=7)) as endpoint:
        client = openai.OpenAI(base_url=endpoint.base_url, api_key=endpoint.api_key)

The endpoint needs the extra `llm`. The other names need no package outside the core.
"""

from __future__ import annotations

from harness.llm.budget import Budget
from harness.llm.costs import RunCosts, costs
from harness.llm.distribution import LognormalDistribution
from harness.llm.disturbances import Disturbance, EndpointFault
from harness.llm.meter import MeteredRequest, ToolRun
from harness.llm.prices import PriceList, TokenPrices
from harness.llm.profile import Billing, EndpointProfile
from harness.llm.serving import Endpoint, serving

__all__ = [
    "Billing",
    "Budget",
    "Disturbance",
    "Endpoint",
    "EndpointFault",
    "EndpointProfile",
    "LognormalDistribution",
    "MeteredRequest",
    "PriceList",
    "RunCosts",
    "TokenPrices",
    "ToolRun",
    "costs",
    "serving",
]
