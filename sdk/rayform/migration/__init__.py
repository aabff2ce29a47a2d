"""`rayform migrate`: rewrites a project that was written for another tool."""
