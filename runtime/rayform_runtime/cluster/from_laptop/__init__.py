"""A cluster as a laptop sees it: its head by SSH, its jobs, its power, its nodes."""
