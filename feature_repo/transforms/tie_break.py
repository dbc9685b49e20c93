"""How equal scores are ordered, the same in training and serving: by a hash of the coupon's id."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np


def tie_break(coupon_ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """A fixed uint64 for every id; among equal scores the higher one ranks first.

    The first 8 bytes, little endian, of BLAKE2b with an 8-byte digest over the id in UTF-8. The
    order has nothing to do with how ids were given, so no metric gains from the order of a file.
    """
    values = {key: _hash(key) for key in set(coupon_ids)}
    return np.fromiter((values[key] for key in coupon_ids), np.uint64, len(coupon_ids))


def _hash(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "little")
