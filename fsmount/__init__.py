"""A filesystem of Claude Enterprise files, read through the Compliance API."""

__version__ = "0.1.0"
