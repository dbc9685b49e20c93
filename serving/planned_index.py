"""The candidate index as of any instant: plans from the lake, statistics from the online store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from feature_repo.names import COUPON
from feature_repo.transforms.request.cart import Attributes
from serving.candidates.index import CandidateIndex, index_from_columns
from serving.candidates.refused import RefusedRedemption
from serving.candidates.terms import TermColumns
from serving.rules.usage import REDEMPTION_LIMITS

if TYPE_CHECKING:
    from feature_repo.publication.plans import Plans

Columns = Mapping[str, Sequence[Any]]


def planned_index(
    plans: "Plans", stored: Columns, products: Attributes | None
) -> Callable[[int], CandidateIndex]:
    """Returns a function that builds the index as of an instant, in microseconds.

    ``stored`` has the coupon features of the online store, one entry for each coupon of ``plans``.
    Plans replace those in it. A coupon that is not in the store yet has the published statistics.
    """
    row_of = {
        coupon_id: row
        for row, coupon_id in enumerate(stored[COUPON])
        if stored["valid_to_timestamp"][row] is not None
    }
    # The plans in the store would only take memory.
    stored = {name: values for name, values in stored.items() if name not in plans.planned}
    published_as_of = plans.statistics([one for one in plans.coupon_ids if one not in row_of])
    refused = [RefusedRedemption(**one) for one in plans.refused_redemptions]
    limited = plans.ever_limited(REDEMPTION_LIMITS)

    def build(instant: int) -> CandidateIndex:
        plan = plans.as_of(instant)
        ids = plan.coupons[COUPON]
        published = published_as_of(instant)

        def value(coupon_id: str, name: str) -> Any:
            if coupon_id in published:
                return published[coupon_id].get(name)
            return stored[name][row_of[coupon_id]]

        columns = {name: [value(one, name) for one in ids] for name in stored}
        index = index_from_columns(
            {**columns, **plan.coupons},
            TermColumns(plan.terms, plan.products),
            products,
            refused,
        )
        found = next((one for one in ids if one not in published), index.stored_coupon)
        return replace(
            index,
            since=plan.since,
            until=plan.until,
            ever_limited=limited,
            stored_coupon=found,
        )

    return build
