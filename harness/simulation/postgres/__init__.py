"""A real Postgres in simulations: real statements, locks and errors, with virtual time and a virtual network.

The statements of all simulated processes run on one real server, through psycopg and SQLAlchemy, as in production. The
simulation replaces what would make a run irreproducible: the clock of the statements, the network, and the wait for an
answer. In the order to read: `database` (schema, clock and connections of one interpreter), `backend` (one connection
of the server), `session` (psycopg's connection as a simulated process has it), `server` (the store of one simulation),
`statements` (which changes a statement makes) and `driven` (the server of a command, and of its jobs).
"""
