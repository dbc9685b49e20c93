"""History features: Ibis expressions over the lake's tables.

One module an entity, and the windows and weeks they share. The same expressions run on DuckDB and
on Spark. Offers the change rows that `publication` writes.
"""
