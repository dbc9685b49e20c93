"""Training's frame of small event logs, for any users, coupons and instants."""

import pyarrow as pa
from feature_logs import DAY, moment

from training.dataset import RawTables, Read, build_frame, feast_reader
from training.frame import RankingFrame


def frame_of(store, users, coupons, instants, read: Read | None = None) -> RankingFrame:
    """Training's frame if every user were exposed to every coupon at every instant.

    ``read`` is by default what reads the store's history.
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
    redeemed = {name: pa.array([], pa.string()) for name in ("user_id", "coupon_id")}
    none = pa.array([], pa.timestamp("us", tz="UTC"))
    redemptions = pa.table(redeemed | {"event_timestamp": none, "created_timestamp": none})
    return build_frame(RawTables(exposures, plans, redemptions), read or feast_reader(store))
