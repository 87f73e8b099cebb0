"""The store of a gallery in PostgreSQL, for several machines; needs the extra `cluster`."""
