"""Artifact stores: committed, verified, immutable files on a disk or in a bucket."""
