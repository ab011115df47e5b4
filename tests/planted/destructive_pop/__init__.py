"""A queue that forgets a task as soon as a worker has taken it, as the published agentexec 0.3.0 does.

Its worker pops with RPOP's blocking form: from then on the task is known to that process alone. SIGKILL loses it, and
its row says RUNNING for ever. Without faults it works as it should, and it replaces its dead workers.
"""
