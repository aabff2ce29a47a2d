"""Options of steps and pipelines: as users write them, checked, and overridden by the configuration."""
