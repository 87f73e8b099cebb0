"""One event log of several machines, in PostgreSQL; needs the extra `cluster`."""
