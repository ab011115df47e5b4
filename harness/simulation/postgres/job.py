"""Runs the module of a job, which the first argument names, on the Postgres of the command that started the job."""

from __future__ import annotations

import sys
from runpy import run_module

from harness.simulation.postgres.driven import of_this_job

if __name__ == "__main__":
    name = sys.argv.pop(1)
    with of_this_job():
        run_module(name, run_name="__main__", alter_sys=True)
