"""Offline recommendation: the service's decision for one user, with features as of any instant."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from feature_repo.instants import microseconds
from feature_repo.lake.coupon_scopes import CoveredProducts, covered_products
from feature_repo.lake.product_attributes import product_attributes
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import LakeError, State, instant
from feature_repo.names import COUPON, RANKERS, USER, Placement
from feature_repo.publication.plans import read_plans
from flows.materialize import apply
from flows.runtime import prepare_environment, tracking_uri
from serving.candidates.index import CandidateIndex
from serving.decisions.log import NoDecisionLog
from serving.models.mlflow_registry import MlflowRegistry
from serving.models.slot import model_slots, refresh_all
from serving.online.feast_reader import AlwaysFresh
from serving.planned_index import planned_index
from serving.recommend.decision import Records
from serving.recommend.recommender import Limits, Rankers, Reads, Recommender
from serving.rules.settings import RuleSettings, rules_from_environment
from serving.runtime.clock import Clock
from serving.schemas.recommendation import CartItem, RecommendationAnswer, RecommendationRequest
from training.data.dataset import features_by_key


class OfflineFeatures:
    """Features of users and coupons as of one instant, read from Feast's offline store."""

    def __init__(self, store: Any, as_of: datetime) -> None:
        self._store, self._as_of = store, as_of
        self._names = features_by_key(store)

    def user(self, user_id: str) -> Mapping[str, Any]:
        """Reads every feature of a user by name; None for a missing value."""
        columns = self._read(USER, [user_id], self._names[USER])
        return {name: values[0] for name, values in columns.items()}

    def coupons(self, coupon_ids: Sequence[str]) -> Mapping[str, list[Any]]:
        """Reads the features of coupons as columns, with one entry for each coupon."""
        return self._read(COUPON, coupon_ids, self._names[COUPON])

    def _read(self, key: str, ids: Sequence[str], features: Sequence[str]) -> dict[str, list[Any]]:
        import pandas as pd

        if not ids:
            return {key: []}
        entities = pd.DataFrame({key: ids, "event_timestamp": pd.Timestamp(self._as_of)})
        job = self._store.get_historical_features(entity_df=entities, features=list(features))
        return job.to_arrow().drop_columns(["event_timestamp"]).to_pydict()


@dataclass(frozen=True)
class Explained:
    """An answer, its instant, and the products that each of its coupons covers, by coupon id."""

    answer: RecommendationAnswer
    as_of: datetime
    covers: Mapping[str, CoveredProducts]


class CartRefused(Exception):
    """A cart that is not in the format of the HTTP API."""


def cart_from_json(text: str) -> tuple[CartItem, ...]:
    """Reads the lines of a cart as in the HTTP API. Raises CartRefused.

    >>> cart_from_json('[{"product_id": "1095275", "quantity": 2, "unit_price": 0.5}]')[0].quantity
    2.0
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(tuple[CartItem, ...]).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the text"
        raise CartRefused(
            'Expected a cart such as [{"product_id": "1095275", "quantity": 1, "unit_price": 0.5}]'
            f", got a fault at {place}: {first['msg']}."
        ) from error


def recommend(
    user_id: str,
    as_of: str | None = None,
    k: int = 10,
    placement: Placement = "home",
    cart: tuple[CartItem, ...] = (),
) -> Explained:
    """Answers a user as the service would at an instant, by default the watermark.

    The holdout share comes from the environment. Four parts of the service are left out. Caps,
    budgets and frequency caps need reservations and impressions, which are not stored for past
    instants. Exploration would show another list each time. The A/B split is not applied.

    Raises LakeError for an instant after the watermark, and SettingsRefused for an invalid holdout
    share.
    """
    home, rules = prepare_environment(), rules_from_environment(os.environ)
    lake = Lake(home)
    state = lake.state()
    moment = _instant(state, as_of)
    features = OfflineFeatures(apply(), moment)
    index = _candidate_index(lake, state, features, moment)
    recommender = _recommender(home, index, moment, rules)
    request = RecommendationRequest(user_id=user_id, placement=placement, k=k, cart=cart)
    answer = recommender.decide(request, features.user(user_id)).body
    ids = [one.coupon_id for one in answer.recommendations]
    return Explained(answer, moment, covered_products(lake, state, user_id, ids, moment, most=2))


def _instant(state: State, as_of: str | None) -> datetime:
    moment = instant(as_of) if as_of else state.watermark
    if moment > state.watermark:
        raise LakeError(
            f"The lake is complete up to {state.watermark.isoformat()}, so it has no features as "
            f"of {moment.isoformat()}. Choose an instant no later than the former."
        )
    return moment


def _candidate_index(
    lake: Lake, state: State, features: OfflineFeatures, as_of: datetime
) -> CandidateIndex:
    plans = read_plans(lake, state)
    stored = features.coupons(plans.coupon_ids)
    return planned_index(plans, stored, product_attributes(lake, state))(microseconds(as_of))


def _recommender(
    home: Path, index: CandidateIndex, as_of: datetime, rules: RuleSettings
) -> Recommender:
    uri = tracking_uri(home)
    slots = model_slots({key: MlflowRegistry(uri, names) for key, names in RANKERS.items()})
    refresh_all(slots)
    return Recommender(
        reads=Reads(AlwaysFresh(), lambda instant: index),
        rankers=Rankers(lambda key: slots[key].models),
        records=Records(NoDecisionLog()),
        clock=Clock(lambda: as_of),
        new_id=lambda: "offline",
        limits=Limits(rules),
    )
