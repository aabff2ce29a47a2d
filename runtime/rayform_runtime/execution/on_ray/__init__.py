"""Runs steps as Ray tasks: on a Ray on this machine, or on a cluster behind SSH."""
