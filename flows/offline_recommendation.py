"""One user's coupons as of any instant: the service's decision, from the offline store."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from feature_repo.lake.duckdb_files import query
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import LakeError, State, instant
from feature_repo.names import COUPON, PRODUCT, TERMS_SERVICE, USER
from flows.materialize import apply
from flows.runtime import prepare_environment, tracking_uri
from serving.candidates.index import index_from_columns
from serving.candidates.terms import TermColumns
from serving.models.mlflow_registry import MlflowRegistry
from serving.models.slot import ModelSlot
from serving.recommend.decision import Records
from serving.recommend.recommender import Limits, Rankers, Reads, Recommender
from serving.rules.settings import rules_from_environment
from serving.runtime.clock import Clock
from serving.schemas.recommendation import RecommendationAnswer, RecommendationRequest
from training.data.dataset import features_by_key


class OfflineFeatures:
    """Reads users and coupons as of one instant from Feast's offline store."""

    def __init__(self, store: Any, as_of: datetime):
        self._store, self._as_of = store, as_of
        self._names = features_by_key(store)

    def user(self, user_id: str) -> Mapping[str, Any]:
        """Every user feature by name, None for what is unknown."""
        columns = self._read(USER, [user_id], self._names[USER])
        return {name: values[0] for name, values in columns.items()}

    def coupons(self, coupon_ids: list[str]) -> Mapping[str, list]:
        """The coupon features, one entry a coupon."""
        return self._read(COUPON, coupon_ids, self._names[COUPON])

    def terms(self, coupon_ids: list[str], product_ids: list[str]) -> TermColumns:
        """The terms of these coupons and products."""
        views = self._store.get_feature_service(TERMS_SERVICE).feature_view_projections
        names = {
            view.name: [f"{view.name}:{feature.name}" for feature in view.features]
            for view in views
        }
        return TermColumns(
            self._read(COUPON, coupon_ids, names["coupon_terms"]),
            self._read(PRODUCT, product_ids, names["product_terms"]),
        )

    def stale_features(self, as_of: datetime) -> list[str]:
        """Nothing is stale: the offline store reads as of the instant itself."""
        return []

    def watermark(self) -> None:
        """There is no instant before which this store would show the future."""
        return None

    def _read(self, key: str, ids: list[str], features: list[str]) -> dict[str, list]:
        import pandas as pd

        if not ids:
            return {key: []}
        entities = pd.DataFrame({key: ids, "event_timestamp": pd.Timestamp(self._as_of)})
        job = self._store.get_historical_features(entity_df=entities, features=features)
        return job.to_arrow().drop_columns(["event_timestamp"]).to_pydict()


class _Unlogged:
    """Keeps no decision: nobody was shown anything."""

    def record(self, decision: object) -> None:
        return None


@dataclass(frozen=True)
class Explained:
    """An answer and, by coupon, what it covers in words: all products, and what the user bought."""

    answer: RecommendationAnswer
    as_of: datetime
    covers: Mapping[str, tuple[int, list[str], list[str]]]


def recommend(user_id: str, as_of: str | None = None, k: int = 10) -> Explained:
    """What the service would answer a user at an instant, by default the watermark.

    The holdout counts as the environment has it. Caps of all users, budgets and frequency caps are
    left out, since what was reserved and shown at that instant is not kept; so are exploration,
    which would show another list each time, and the A/B split.

    Raises LakeError for an instant after the watermark, which nobody knows yet, and SettingsRefused
    for a holdout that cannot be.
    """
    home, rules = prepare_environment(), rules_from_environment(os.environ)
    lake = Lake(home)
    state = lake.state()
    moment = instant(as_of) if as_of else state.watermark
    if moment > state.watermark:
        raise LakeError(
            f"The lake is complete up to {state.watermark.isoformat()}, so nothing is known as of "
            f"{moment.isoformat()}; choose an instant no later than that."
        )
    features = OfflineFeatures(apply(), moment)
    coupons = _known(lake, state, COUPON, "coupons", moment)
    terms = features.terms(
        _known(lake, state, COUPON, "coupon_terms", moment),
        _known(lake, state, PRODUCT, "product_terms", moment),
    )
    index = index_from_columns(features.coupons(coupons), terms)
    models = ModelSlot(MlflowRegistry(tracking_uri(home)))
    models.refresh()
    recommender = Recommender(
        reads=Reads(features, lambda: index),
        rankers=Rankers(lambda: models.models),
        records=Records(_Unlogged()),
        clock=Clock(lambda: moment),
        new_id=lambda: "offline",
        limits=Limits(rules),
    )
    request = RecommendationRequest(user_id=user_id, placement="home", k=k)
    answer = recommender.decide(request, features.user(user_id))
    ids = [one.coupon_id for one in answer.recommendations]
    return Explained(answer, moment, covered_names(lake, state, user_id, ids, moment))


def _known(lake: Lake, state: State, key: str, table: str, as_of: datetime) -> list[str]:
    """The ids in a table that were known before an instant."""
    found = query(
        f"SELECT DISTINCT {key} FROM ({lake.scan(table, state)}) WHERE "
        f"greatest(event_timestamp, created_timestamp) < '{as_of.isoformat()}' ORDER BY 1"
    )
    return found[key].to_pylist()


def covered_names(
    lake: Lake, state: State, user_id: str, coupon_ids: list[str], as_of: datetime
) -> dict[str, tuple[int, list[str], list[str]]]:
    """By coupon: how many kinds of product it covers, the most bought, and those the user bought.

    Purchases count if they happened before ``as_of``.
    """
    bought = query(
        f"""
        WITH pairs AS (
            SELECT DISTINCT coupon_id, product_id FROM ({lake.scan("coupon_products", state)})
            WHERE coupon_id IN (SELECT coupon_id FROM wanted)),
        names AS (SELECT product_id, coalesce(arg_max(name, created_timestamp), product_id) AS name
            FROM ({lake.scan("products", state)}) GROUP BY product_id),
        sold AS (SELECT product_id, count(*) AS times, count(*) FILTER (user_id = $user) AS own
            FROM (SELECT * FROM ({lake.scan("events", state)})
                WHERE greatest(event_timestamp, created_timestamp) < '{as_of.isoformat()}'
                QUALIFY row_number() OVER (
                    PARTITION BY event_id ORDER BY created_timestamp DESC) = 1)
            WHERE event_type = 'purchase' GROUP BY 1),
        named AS (SELECT coupon_id, product_id, name, coalesce(times, 0) AS times,
            coalesce(own, 0) AS own
            FROM pairs JOIN names USING (product_id) LEFT JOIN sold USING (product_id))
        SELECT coupon_id, count(DISTINCT product_id) AS products,
            list_distinct(list(name ORDER BY times DESC, name)) AS every,
            list(name || ' x' || own ORDER BY own DESC, name) FILTER (own > 0) AS own
        FROM (SELECT coupon_id, min(product_id) AS product_id, name, sum(times) AS times,
            sum(own) AS own FROM named GROUP BY coupon_id, name) GROUP BY coupon_id
        """.replace("$user", "'" + user_id.replace("'", "''") + "'"),
        wanted=_table(coupon_ids),
    )
    return {
        row["coupon_id"]: (row["products"], row["every"][:2], (row["own"] or [])[:2])
        for row in bought.to_pylist()
    }


def _table(coupon_ids: list[str]):
    import pyarrow as pa

    return pa.table({"coupon_id": pa.array(coupon_ids, pa.string())})
