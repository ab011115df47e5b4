"""Topologies: an environment in which one of the services has more than one server."""
