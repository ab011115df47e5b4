"""The activity store: SQL and models. Imports nothing of agentexec but settings and identifiers."""
