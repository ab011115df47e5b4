"""Connections to Postgres and Redis, under the import paths of the production guide."""
