"""Feature services: one for each model contract, with a new number when its columns change."""

from feast import FeatureService

from feature_repo.names import CHECKOUT, HOME
from feature_repo.transforms.request.ranker_inputs import DERIVED, RANKER_INPUTS
from feature_repo.views import coupon, user

home_ranker_v1 = FeatureService(
    name=HOME.service,
    features=[*user.VIEWS, *coupon.VIEWS],
    description="The features that ranker_inputs (feature_repo/transforms/request) reads. The home "
    "ranker uses its inputs without those of the cart.",
)

checkout_ranker_v1 = FeatureService(
    name=CHECKOUT.service,
    features=[*user.VIEWS, *coupon.VIEWS],
    description="The features that ranker_inputs (feature_repo/transforms/request) reads. The "
    "checkout ranker uses all of its inputs, with those of the cart.",
)

DERIVED_VIEW = "at request time"
"""In place of a view: the input is derived from several fields."""


def input_lineage() -> dict[str, tuple[str, str]]:
    """Returns the view and the description of each ranker input, in order.

    An input that ``ranker_inputs`` derives from several fields has DERIVED_VIEW in place of a view.
    """
    stored = {
        field.name: (view.name, field.description)
        for view in (*user.VIEWS, *coupon.VIEWS)
        for field in view.schema
    }
    derived = {name: (DERIVED_VIEW, text) for name, text in DERIVED.items()}
    lineage = stored | derived
    return {name: lineage[name] for name in RANKER_INPUTS}
