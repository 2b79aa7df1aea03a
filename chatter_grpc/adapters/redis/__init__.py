"""Adapters on Redis: what replicas share and none of them needs."""
