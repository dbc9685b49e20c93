"""Feature services: one per model contract, a new number when its columns change."""

from feast import FeatureService

from feature_repo.names import RANKER_SERVICE
from feature_repo.views import coupon, user

coupon_ranker_v1 = FeatureService(
    name=RANKER_SERVICE,
    features=[*user.VIEWS, *coupon.VIEWS],
    description="All that ranker_inputs (feature_repo/transforms/request.py) reads.",
)
