"""The composition root: builds everything from the settings, and is the only package that knows every part."""
