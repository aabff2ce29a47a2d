"""What starts a run and follows it: run, resume, spin, progress and failures."""
