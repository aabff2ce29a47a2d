"""Dynamic pipelines: their body runs in a thread of the scheduler's process and adds calls while the run goes on."""
