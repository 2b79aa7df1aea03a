"""What tests share: stand-ins for paid providers, databases and servers that they start."""
