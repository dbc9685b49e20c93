"""History features: Ibis expressions over the lake's tables.

`user`, `product` and `coupon` describe an entity each, `purchase_history` a user's purchases by
product, category and brand. `changes` has the windows that they share. The same expressions run on
DuckDB and on Spark. Offers the change rows to `publication`. Imports `instants` and the
request-time room.
"""
