"""Workloads: what is asked of a target while it is being hurt, and the bodies of its handlers."""
