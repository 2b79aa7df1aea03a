"""Housekeeping: the run by which a server removes what has had its time."""
