"""A whole system in one thread, on a virtual clock, with faults at any call: the same seed, the same run."""

from __future__ import annotations

from harness.simulation.drawing import plan_of
from harness.simulation.plan import Plan
from harness.simulation.simulation import Finding, SimulationResult, simulate

__all__ = ["Finding", "Plan", "SimulationResult", "plan_of", "simulate"]
