"""Where: Ray tasks, on a Ray of this machine or on a cluster behind SSH."""
