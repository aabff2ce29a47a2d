"""The user's code: where it is, how it is loaded, what its digest is, and how it travels."""
