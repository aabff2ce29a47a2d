"""The deciding part: walks a run's graph, asks the cache, records what happens, and chooses what runs next."""
