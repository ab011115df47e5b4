"""Mistakes in the set-up of an installation: the doctor has to find each one, and a run shows what it costs."""
