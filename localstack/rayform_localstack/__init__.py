"""The emulated cloud: an AWS API on this machine, whose instances, databases and registry really run."""
