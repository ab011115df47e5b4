"""Applications with their own handlers, as targets: one module for each kind.

Each kind has a worker module too, which the worker command of its system imports. The system itself is imported from
the environment of the application, which the harness does not require.
"""
