"""Start and follow runs: run, resume, spin, run names, progress and failures."""
