"""Hints on rows that passed, but may not be meant as they are: limits of 0."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_LIMITS = {
    "coupons": ("per_user_limit",),
    "coupon_terms": (
        "total_limit",
        "period_limit",
        "campaign_budget",
        "user_budget",
        "max_discount",
        "impression_limit",
    ),
}


def zero_limits(passed: "Mapping[str, pa.Table]") -> Iterator[str]:
    """Yields a sentence for each limit that is 0: some sources write "no limit" so.

    >>> import pyarrow as pa
    >>> rows = pa.table({"coupon_id": ["a", "b"], "per_user_limit": [0, 1]})
    >>> next(zero_limits({"coupons": rows}))[:64]
    'coupons: per_user_limit is 0 in 1 row (a), which allows nothing;'
    """
    import pyarrow.compute as pc

    for name in [one for one in _LIMITS if one in passed]:
        rows = passed[name]
        for column in _LIMITS[name]:
            found = rows.filter(pc.equal(rows[column], 0))
            if found.num_rows:
                yield (
                    f"{name}: {column} is 0 in {found.num_rows:,} "
                    f"row{'s' * (found.num_rows > 1)} ({found['coupon_id'][0]}"
                    f"{', ...' * (found.num_rows > 1)}), which allows nothing; leave the field "
                    "empty where there is no limit."
                )
