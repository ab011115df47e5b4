"""The queue in memory, on a clock of its owner: what the simulation runs instead of Redis."""
