"""Names and calling conventions of agentexec 0.3.0 that are not part of the design."""
