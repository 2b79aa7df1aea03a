"""The history of the tables, as Alembic runs it; ``schema`` says how to run it.

A change of the tables is a file in ``versions``, written by hand and named by the next number. The tests compare what
all of them make with the models, on both databases, and name each difference.
"""
