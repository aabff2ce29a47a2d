"""A Ray cluster: how laptops reach it, what runs on its machines, and its workers inside step images."""
