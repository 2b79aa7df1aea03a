"""Runs: everything that takes time, as a durable log of typed events written by one fenced attempt."""
