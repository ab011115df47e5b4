"""Load for queues in plain Locust idiom: shapes, open arrivals, latencies, thresholds, and a verdict."""
