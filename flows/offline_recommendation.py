"""One user's coupons as of any instant: the service's decision, from the offline store."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from feature_repo.lake.coupon_scopes import CoveredProducts, covered_products
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import LakeError, instant
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
    covers: Mapping[str, CoveredProducts]


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
    coupons = lake.known_ids("coupons", state, moment)
    terms = features.terms(
        lake.known_ids("coupon_terms", state, moment),
        lake.known_ids("product_terms", state, moment),
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
    answer = recommender.decide(request, features.user(user_id)).body
    ids = [one.coupon_id for one in answer.recommendations]
    return Explained(answer, moment, covered_products(lake, state, user_id, ids, moment, most=2))
