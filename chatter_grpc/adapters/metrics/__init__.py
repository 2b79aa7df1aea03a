"""Metrics for Prometheus, and the port on which they are asked for."""
