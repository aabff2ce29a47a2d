"""Alembic migrations of the catalog. Opening a catalog of the current version doesn't load Alembic.

To add one: change `tables.py`, write `versions/NNNN_what.py`, add its number to `schema.VERSIONS`, and render the DDL
with `python -m rayform_runtime.catalog.schema.render`. Tests compare all three on both databases.
"""
