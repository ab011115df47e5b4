"""Scenarios: frozen values that combine a workload, faults and checkers; their schedules; their lookup by name."""

from __future__ import annotations

from harness.scenario.scenario import RELEASE, SMOKE, SOAK, PoolNeeds, Scenario, ScenarioRun

__all__ = ["RELEASE", "SMOKE", "SOAK", "PoolNeeds", "Scenario", "ScenarioRun"]
