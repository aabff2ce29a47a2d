"""Makes a pipeline run: specification, components, catalog, artifacts, images, execution, cluster.

The runtime finds user code by its import path and never imports `rayform` itself, so that the same code runs
on a laptop, in a worker process, on a cluster's head and inside a step's image.
"""
