"""How Chatter does it: one package per technology, each implementing ports of the core."""
