"""Rayform's version; the build and every room read it from here."""

__version__ = "0.1.0"
