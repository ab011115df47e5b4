"""Deterministic simulation: the production code in one thread, on a virtual clock, with faults at any call."""

from __future__ import annotations

from harness.simulation.plan import Plan
from harness.simulation.plan_generator import plan_of
from harness.simulation.simulation import Finding, SimulationResult, simulate

__all__ = ["Finding", "Plan", "SimulationResult", "plan_of", "simulate"]
