"""Measures lists and searches on databases of different sizes."""
