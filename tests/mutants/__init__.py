"""Mutants of the Lua scripts and the SQL statements, judged by each means alone. mutmut does the same for Python."""
