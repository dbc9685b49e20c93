"""The strings that more than one folder must spell alike."""

RANKER_SERVICE = "coupon_ranker_v1"
TERMS_SERVICE = "coupon_terms_v1"

RANKER_MODEL = "coupon_ranker"
CHAMPION = "champion"
CHALLENGER = "challenger"

RULE_NAME = "own_spend"
RULE_VERSION = "rule-1"

# What the trees of a version add to: a service that adds them to anything else would rank wrongly.
BASE_MARGIN_TAG = "base_margin"
BASE_MARGIN = f"{RULE_NAME} {RULE_VERSION}"

# The gate's two answers, and the file among a run's artifacts that they stand on.
GATE_TAG = "gate"
GATE_PASSED = "passed"
GATE_FAILED = "failed"
VERDICT_TAG = "verdict"
GATE_FILE = "gate.json"

# Rows of inputs with the scores that training gave them: a service must get the same.
GOLDEN_FILE = "golden.parquet"
SCORE = "score"
SERVICE_TAG = "feast.feature_service"

# Why a version was promoted, and the file that lets one serve which the gate did not pass.
REASON_TAG = "promotion_reason"
FORCED_TAG = "promotion_forced"
FORCED_FILE = "forced.json"


def of_copy(file: str, version: str) -> str:
    """The file of a version whose run made another one first, which keeps its own."""
    return f"version-{version}-{file}"


USER = "user_id"
PRODUCT = "product_id"
COUPON = "coupon_id"

PLACEMENTS = ("home", "cart", "checkout", "member", "campaign")
