"""Stack definitions: read from YAML, checked, compared, and estimated in costs."""
