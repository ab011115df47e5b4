"""A newcomer's way through docs/production: its pages as steps, and a fresh machine to take them on."""
