"""The history of the tables, as Alembic runs it; see ``schema`` for how to run it."""
