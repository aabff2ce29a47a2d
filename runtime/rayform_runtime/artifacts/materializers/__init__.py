"""Materializers: each saves and loads one family of Python types as plain files."""
