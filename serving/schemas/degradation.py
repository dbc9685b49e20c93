"""Kinds of degraded answers, as the header ``X-Clipwise-Degraded`` and the counter name them."""

from collections.abc import Mapping

ONLINE_STORE = "online-store"
CACHED_FEATURES = "cached-features"
COLD_START_FEATURES = "cold-start-features"
LEDGER = "ledger"
REGISTRY = "registry"
UNKNOWN_USER = "unknown-user"
UNKNOWN_PRODUCT = "unknown-product"
STALE_FEATURES = "stale-features"
NO_CANDIDATES = "no-candidates"

KINDS: Mapping[str, str] = {
    ONLINE_STORE: "The online store was not read, failed, timed out, or is empty.",
    CACHED_FEATURES: "The user's features are those last read, because the online store failed.",
    COLD_START_FEATURES: "The user counts as unknown, because the online store failed.",
    LEDGER: "Coupons with limits in the ledger were left out, because it could not be read.",
    REGISTRY: "The model registry does not answer, or has no model that may serve.",
    UNKNOWN_USER: "The online store has no features of the user.",
    UNKNOWN_PRODUCT: "A product in the cart is not in the lake.",
    STALE_FEATURES: "A feature view was materialized longer ago than it allows.",
    NO_CANDIDATES: "There is no coupon that the user may see.",
}
"""Each kind of degraded answer, with its meaning."""
