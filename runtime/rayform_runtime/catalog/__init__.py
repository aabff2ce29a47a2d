"""The catalog: runs, artifacts, models, metadata and lineage in SQLite or PostgreSQL."""
