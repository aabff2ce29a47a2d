"""A Ray cluster: reached from a laptop, run by its machines, with workers inside step images."""
