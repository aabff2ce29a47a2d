"""What reads and changes the catalog: the client, its views, lineage, pruning and copies."""
