"""Who decides: walks a run's graph, asks the cache, records what happens, and says what runs next."""
