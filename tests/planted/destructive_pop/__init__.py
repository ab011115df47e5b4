"""A queue that loses a task when its worker dies, as the published agentexec 0.3.0 does.

Its worker pops with RPOP's blocking form: from then on only that process has the task. SIGKILL loses it, and its row
stays RUNNING for ever. Without faults the queue works, and its pool replaces dead workers.
"""
