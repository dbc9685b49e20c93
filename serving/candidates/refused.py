"""Redemptions in quarantine: they count against every limit, as far as their row can be read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from feature_repo.contract import LARGEST
from serving.candidates.terms import Terms
from serving.candidates.unstated import NO_LIMIT


@dataclass(frozen=True)
class RefusedRedemption:
    """A redemption in quarantine; its campaign, user or amount (minor units) may be unknown."""

    coupon_id: str
    campaign_id: str | None
    user_id: str | None
    amount: int | None


def with_refused(
    terms: Terms,
    row_of: Mapping[str, int],
    campaigns: np.ndarray,
    redemptions: Sequence[RefusedRedemption],
) -> Terms:
    """Lowers the limits of all users by these redemptions, and holds coupons back from their users.

    A redemption of an unknown amount counts with the most that its coupon can cost.
    """
    if not redemptions:
        return terms
    uses, spent = np.zeros(len(campaigns), dtype=np.int64), np.zeros(len(campaigns), dtype=np.int64)
    refused: dict[str, list[np.ndarray]] = {}
    for one in redemptions:
        row = row_of.get(one.coupon_id)
        own = np.array([] if row is None else [row], dtype=np.int64)
        of_campaign = campaigns == one.campaign_id
        uses[own] += 1
        spent[of_campaign] += max(_most(terms, row) if one.amount is None else one.amount, 1)
        if one.user_id is not None:
            others = np.flatnonzero(of_campaign & (terms.user_budget < NO_LIMIT))
            refused.setdefault(one.user_id, []).append(np.concatenate([own, others]))
    return replace(
        terms,
        total_limit=_lowered(terms.total_limit, uses),
        campaign_budget=_lowered(terms.campaign_budget, spent),
        refused_rows={user: np.unique(np.concatenate(rows)) for user, rows in refused.items()},
        stated=terms.stated | {"refused_rows"},
    )


def _most(terms: Terms, row: int | None) -> int:
    highest = NO_LIMIT if row is None else int(terms.discounts.max_per_use[row])
    return highest if highest < NO_LIMIT else LARGEST


def _lowered(limits: np.ndarray, used: np.ndarray) -> np.ndarray:
    return np.where(limits < NO_LIMIT, limits - used, limits)
