"""Faults, by what they hurt: each module holds a family of values that a scenario is composed of."""
