"""A package whose modules are started by `python -m`."""
