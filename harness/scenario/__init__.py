"""Scenarios: one frozen value each, of a workload, faults and checkers."""

from __future__ import annotations

from harness.scenario.scenario import PoolNeeds, Scenario, ScenarioRun

__all__ = ["PoolNeeds", "Scenario", "ScenarioRun"]
