"""The memory queue, on a clock of its owner: the simulation runs it instead of Redis."""
