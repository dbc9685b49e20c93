"""Training's frame of small event logs, for any users, coupons and instants."""

import pyarrow as pa

from tests.support.feature_logs import DAY, moment
from training.data.dataset import RawTables, Read, build_frame, feast_reader
from training.data.frame import RankingFrame


def frame_of(
    store, users, coupons, instants, read: Read | None = None, redeemed: bool = False
) -> RankingFrame:
    """Builds training's frame with an exposure of every user to every coupon at every instant.

    ``read`` reads features; by default the store's history. If ``redeemed``, every other user
    redeems every other coupon an hour after each instant.
    """
    pairs = [(user, t) for t in instants for user in users]
    times = pa.array([moment(t) for _user, t in pairs], pa.timestamp("us", tz="UTC"))
    exposures = pa.table(
        {
            "exposure_id": [f"{user}-{t}" for user, t in pairs],
            "event_timestamp": times,
            "user_id": [user for user, _t in pairs],
            "campaign_id": ["every"] * len(pairs),
        }
    )
    far = pa.array([moment(instants[-1] + DAY)] * len(coupons), pa.timestamp("us", tz="UTC"))
    plans = pa.table(
        {"coupon_id": list(coupons), "campaign_id": ["every"] * len(coupons), "valid_to": far}
    )
    used = [(user, one, t) for user, t in pairs[::2] for one in coupons[::2]] if redeemed else []
    after = pa.array([moment(t + DAY // 24) for *_, t in used], pa.timestamp("us", tz="UTC"))
    redemptions = pa.table(
        {
            "user_id": pa.array([user for user, *_ in used], pa.string()),
            "coupon_id": pa.array([one for _, one, _ in used], pa.string()),
            "event_timestamp": after,
            "created_timestamp": after,
        }
    )
    return build_frame(RawTables(exposures, plans, redemptions), read or feast_reader(store))
