"""The demonstration: a real server, a real text, and a client that reads like a first example."""
