"""Where: worker processes on this machine."""
