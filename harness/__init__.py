"""Chaos, load and verdicts for systems that run background work for AI agents."""
