"""Ray workers inside step images: what Ray starts on a node, and what their container forks them from."""
