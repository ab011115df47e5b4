"""The proof of the alerts of deploy/prometheus: each fires after its cause, and none while all is well.

A real Prometheus reads the rules, in which every duration is divided by one factor (`scaling.FACTOR`), and scrapes
real pools and the exporters of real servers.
"""
