"""The folder of `harness_worker`, the worker kit. Adapters have it on their path and import `harness_worker`."""
