"""What reads and changes a stack's catalog: the client, its views, lineage, pruning and copies."""
