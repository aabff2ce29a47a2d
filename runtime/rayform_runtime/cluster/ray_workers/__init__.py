"""What Ray starts on a node in place of its own set-up of workers that have a runtime environment."""
