"""Names that several packages share: services, models, tags, files, keys and placements."""

RANKER_SERVICE = "coupon_ranker_v1"
TERMS_SERVICE = "coupon_terms_v1"

RANKER_MODEL = "coupon_ranker"
CHAMPION = "champion"
CHALLENGER = "challenger"

RULE_NAME = "own_spend"
RULE_VERSION = "rule-1"

# The base margin of a version's trees. Added to another margin, their scores would rank wrongly.
BASE_MARGIN_TAG = "base_margin"
BASE_MARGIN = f"{RULE_NAME} {RULE_VERSION}"

# The two results of the gate, and the artifact of a run that holds the evidence.
GATE_TAG = "gate"
GATE_PASSED = "passed"
GATE_FAILED = "failed"
VERDICT_TAG = "verdict"
GATE_FILE = "gate.json"

# Input rows with their scores in training. The service must reproduce these scores.
GOLDEN_FILE = "golden.parquet"
SCORE = "score"
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

PLACEMENTS = ("home", "cart", "checkout", "member", "campaign")
