"""Execution: scheduler, cache keys, executors, the step worker."""
