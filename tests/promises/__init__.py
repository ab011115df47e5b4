"""The promises of agentexec, and what asks for each of them."""
