"""The emulated cloud: the AWS API on this machine, with instances, database and registry that really run."""
