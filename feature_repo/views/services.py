"""Feature services: one per model contract, a new number when its columns change."""

from feast import FeatureService

from feature_repo.names import RANKER_SERVICE, TERMS_SERVICE
from feature_repo.transforms.request.ranker_inputs import DERIVED, RANKER_INPUTS
from feature_repo.views import coupon, product, user

coupon_ranker_v1 = FeatureService(
    name=RANKER_SERVICE,
    features=[*user.VIEWS, *coupon.VIEWS],
    description="All that ranker_inputs (feature_repo/transforms/request.py) reads.",
)

coupon_terms_v1 = FeatureService(
    name=TERMS_SERVICE,
    features=[coupon.coupon_terms, product.product_terms],
    description="What the rules of the service (serving/rules.py) hold a coupon against.",
)

DERIVED_VIEW = "at request time"


def input_lineage() -> dict[str, tuple[str, str]]:
    """Of every ranker input, in order: the view that stores it, and what it is.

    One that ``ranker_inputs`` derives from several fields has DERIVED_VIEW in place of a view.
    """
    stored = {
        field.name: (view.name, field.description)
        for view in (*user.VIEWS, *coupon.VIEWS)
        for field in view.schema
    }
    derived = {name: (DERIVED_VIEW, text) for name, text in DERIVED.items()}
    known = stored | derived
    return {name: known[name] for name in RANKER_INPUTS}
