"""What runs on the cluster's machines: `python -m rayform_runtime.cluster.machine start` and its other commands."""
