"""Names that several packages share: rankers, services, tags, files, keys and placements."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args


@dataclass(frozen=True)
class RankerNames:
    """The names of one ranker, and the placements that it answers.

    ``model`` is its registered model, ``service`` its feature service. ``rule`` ranks while there
    is no champion. ``base_margin`` names the margin that its trees start from, the value of
    BASE_MARGIN_TAG: trees on another margin would rank wrongly.
    """

    key: str
    model: str
    service: str
    rule: str
    rule_version: str
    base_margin: str
    placements: tuple[str, ...]


HOME = RankerNames(
    "home",
    "home_ranker",
    "home_ranker_v1",
    "spend_percov",
    "rule-1",
    "spend_percov rule-1",
    ("home", "member", "campaign"),
)
CHECKOUT = RankerNames(
    "checkout",
    "checkout_ranker",
    "checkout_ranker_v1",
    "cart_percov",
    "rule-1",
    "cart_percov margin-2",
    ("checkout", "cart"),
)

RankerKey = Literal["home", "checkout"]
"""A key of ``RANKERS``, as the parameter of a flow or a command."""

RANKERS: Mapping[str, RankerNames] = {one.key: one for one in (HOME, CHECKOUT)}
"""The rankers by key."""

Placement = Literal["home", "cart", "checkout", "member", "campaign"]
PLACEMENTS: tuple[str, ...] = get_args(Placement)

_BY_PLACEMENT = {placement: one for one in RANKERS.values() for placement in one.placements}


def ranker_for(placement: str) -> RankerNames:
    """Returns the ranker that answers a placement of PLACEMENTS. Raises KeyError for another.

    >>> ranker_for("cart").model
    'checkout_ranker'
    """
    return _BY_PLACEMENT[placement]


CHAMPION = "champion"
CHALLENGER = "challenger"

# The margin that a version's trees add to: RankerNames.base_margin.
BASE_MARGIN_TAG = "base_margin"

# The two results of the gate, and the artifact of a run that holds the evidence.
GATE_TAG = "gate"
GATE_PASSED = "passed"
GATE_FAILED = "failed"
VERDICT_TAG = "verdict"
GATE_FILE = "gate.json"

# Input rows with their scores in training. The service must reproduce these scores.
GOLDEN_FILE = "golden.parquet"
SCORE = "score"

# The attribute of a model file that holds the calibration of its probabilities, as JSON.
CALIBRATION_ATTRIBUTE = "calibration"

# The attribute of a model file that holds the linear part of its base margin, as JSON.
LINEAR_ATTRIBUTE = "linear_part"
SERVICE_TAG = "feast.feature_service"

# The reason of a promotion, and the file that permits a version that failed the gate.
REASON_TAG = "promotion_reason"
FORCED_TAG = "promotion_forced"
FORCED_FILE = "forced.json"


def copy_name(file: str, version: str) -> str:
    """Returns the file name for a later version of a run; the first version keeps the plain one.

    >>> copy_name("gate.json", "7")
    'version-7-gate.json'
    """
    return f"version-{version}-{file}"


USER = "user_id"
PRODUCT = "product_id"
COUPON = "coupon_id"
