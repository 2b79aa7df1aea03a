"""Benchmarks: the whole server against simpler ones on this machine, in one run; start with `python -m benchmarks`."""
