"""A sample of visits that keeps every redemption."""

from dataclasses import dataclass
from hashlib import blake2b


@dataclass(frozen=True)
class Sample:
    """The ``share`` of the visits without a redemption that are kept; all others are kept too.

    A drawn visit weighs 1 / share. The draw is by a hash of ``seed`` and the id of the request: it
    depends neither on other requests nor on their order. Raises ValueError for a share that is not
    above 0 and at most 1.
    """

    share: float = 1.0
    seed: int = 2017

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(
                f"Expected a share above 0 and at most 1, got {self.share}: 0.1 is one visit in "
                "ten."
            )

    def is_drawn(self, request_id: str) -> bool:
        """True if a visit without a redemption is kept."""
        digest = blake2b(f"{self.seed}:{request_id}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") < self.share * 2**64


EVERYTHING = Sample()
"""Every visit, with the weight 1."""
