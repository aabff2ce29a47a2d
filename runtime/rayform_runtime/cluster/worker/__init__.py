"""What runs on a worker machine: `python -m rayform_runtime.cluster.worker start`."""
