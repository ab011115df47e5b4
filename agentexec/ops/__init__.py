"""Operations of a running pool: health, logs, metrics, and the HTTP server that serves them."""
