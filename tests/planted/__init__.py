"""Systems with a bug that the harness has to find."""
