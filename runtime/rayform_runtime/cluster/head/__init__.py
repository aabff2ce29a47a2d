"""What runs on the cluster's machines: `python -m rayform_runtime.cluster.head start` and its kin."""
