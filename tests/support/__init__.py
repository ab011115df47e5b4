"""Helpers that several test modules share; no test of its own."""
