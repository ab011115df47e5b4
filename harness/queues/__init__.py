"""Many queues under the same faults, as one table: each target meets each loss in a cell of its own."""
