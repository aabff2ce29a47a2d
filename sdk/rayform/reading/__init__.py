"""Read and change a stack's catalog: the client, its views, lineage, pruning and copies."""
