"""A home of its own for each test."""

from support.homes import client, closed_stacks, rayform_home

__all__ = ["client", "closed_stacks", "rayform_home"]
