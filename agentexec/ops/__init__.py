"""Operation of a running pool: health, logs, metrics, and the HTTP server for health and metrics."""
