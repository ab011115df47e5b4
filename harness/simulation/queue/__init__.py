"""The memory queue on a given clock: the simulation runs it instead of Redis."""
