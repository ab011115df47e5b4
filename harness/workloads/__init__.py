"""Workloads: the tasks that a client submits to a target while faults are injected."""
