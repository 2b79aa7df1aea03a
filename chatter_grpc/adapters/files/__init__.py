"""Files of the embedded mode."""
