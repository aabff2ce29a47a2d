"""Ray workers inside step images: the programs that Ray starts on a node, and the server that workers fork from."""
