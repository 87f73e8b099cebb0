"""The cameras of other machines that share the database: who runs them, and calls to those."""
