"""Load tests: Locust enqueues through agentexec while a real pool works; service levels judge the result."""
