"""Chaos runs, simulations, load and verdicts for systems that run background tasks for AI agents.

The folders in reading order:

history       operations that clients, workers, nemesis, store and queue record; a run is judged by nothing else
checkers      properties of a history: no task lost, fencing, lock keys, recovery; each VALID, INVALID or UNKNOWN
environments  one Postgres and one Redis for a run: embedded, in containers, or external
targets       the system under test: how its pools start, tasks are submitted, and its state is read
workloads     which tasks a client submits, when, and which checkers judge them
faults        what is injected into processes and servers, and how it is healed
scenario      a workload, faults and checkers as one value; the schedule that a seed gives it; lookup by name
run           one chaos run: workload under faults, healing, drain, evidence, verdict
report        verdicts, tables and timelines of runs
simulation    the production code of agentexec on a virtual clock, with faults at any call, by seeds
cli           the command `harness`
"""
