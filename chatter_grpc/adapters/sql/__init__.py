"""Storage in SQLite or PostgreSQL: one code for both, but for the writer of the run log."""
