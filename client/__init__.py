"""Client of the Compliance API."""
