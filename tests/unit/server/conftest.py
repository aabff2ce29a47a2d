"""A home of its own for each test, a client of its default stack, and the dashboard."""

from support.dashboards import browser
from support.homes import client, closed_stacks, rayform_home

__all__ = ["browser", "client", "closed_stacks", "rayform_home"]
