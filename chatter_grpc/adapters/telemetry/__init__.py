"""Traces for a collector of OpenTelemetry; needs the extra `telemetry`."""
