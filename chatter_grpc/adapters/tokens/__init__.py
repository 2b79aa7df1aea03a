"""Secrets of every kind: the server's own, signing keys, tokens, passwords and the hashes of API keys."""
