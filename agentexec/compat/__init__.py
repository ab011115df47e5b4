"""Names kept for agentexec 0.3.0 that are not part of the design."""
