"""The catalog in SQL: SQLite or PostgreSQL behind one class, put together from its parts."""
