"""Artifact stores and materializers: how values become verified, immutable files and come back."""
