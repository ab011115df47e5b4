"""Load: Locust profiles that enqueue through agentexec while a real pool works, judged by declared service levels."""
