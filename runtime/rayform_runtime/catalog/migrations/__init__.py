"""Alembic migrations of the catalog. A catalog of the current version never loads Alembic.

To add one: change `tables.py`, write `versions/NNNN_what.py`, add its number to `schema.VERSIONS`, and render the DDL
with `python -m rayform_runtime.catalog.schema.render`. Tests compare the three on both databases.
"""
