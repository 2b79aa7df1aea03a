"""Adapters that live in the process: limits and wake-ups for a single server."""
