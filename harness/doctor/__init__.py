"""The doctor: checks of an installation of agentexec, read-only, each with what was seen and the remedy.

`harness doctor` and `agentexec doctor` run it. A module for each area has its checks; `registry.py` lists all of them.
"""
