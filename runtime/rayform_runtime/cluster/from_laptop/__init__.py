"""A cluster from a laptop: its head by SSH, its jobs, its nodes, and starting and stopping it."""
