"""One chaos run, from the scenario to the verdict."""
