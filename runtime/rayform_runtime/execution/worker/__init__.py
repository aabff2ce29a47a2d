"""The doing part: runs one task, the same in a local process, a Ray task and the scheduler's own process."""
