"""Strikes at every single command of a task's life, against any target, with its code untouched."""
