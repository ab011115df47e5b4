"""Systems with a known bug that the harness has to find."""
