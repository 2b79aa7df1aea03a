"""What makes parts of the repository from other parts; none of it is installed."""
