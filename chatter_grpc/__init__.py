"""Chatter: a self-hosted AI chat backend in which every answer is a durable run, spoken over gRPC."""

__version__ = "0.1.0"
