"""A ledger behind a circuit breaker."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from serving.errors import StorageFailed
from serving.ledger.ledger import Claim, Ledger, Redemption, Usage
from serving.runtime.breaker import Breaker

Answer = TypeVar("Answer")


class ResilientLedger:
    """A ledger that no request calls for ``pause_seconds`` after a failure.

    A failed call can take the whole time limit of a request, and a request may make several calls.
    Redemptions are entered even during the pause.
    """

    def __init__(self, ledger: Ledger, pause_seconds: float, timer: Callable[[], float]) -> None:
        self._ledger = ledger
        self._breaker = Breaker(1, pause_seconds, timer)

    def usage(self, user_id: str, since: int, until: int, holder: str | None = None) -> Usage:
        """See ``Ledger``."""
        return self._guarded(lambda: self._ledger.usage(user_id, since, until, holder))

    def claim(
        self, user_id: str, claims: Sequence[Claim], at: int, holder: str | None = None
    ) -> dict[str, str]:
        """See ``Ledger``."""
        return self._guarded(lambda: self._ledger.claim(user_id, claims, at, holder))

    def redeem(self, redemptions: Sequence[Redemption], corrects: bool = True) -> None:
        """See ``Ledger``."""
        self._ledger.redeem(redemptions, corrects)

    def take_back(self, redemption_ids: Sequence[str], keeps_use: bool = False) -> None:
        """See ``Ledger``."""
        self._ledger.take_back(redemption_ids, keeps_use)

    def identity(self) -> str:
        """See ``Ledger``."""
        return self._ledger.identity()

    def _guarded(self, call: Callable[[], Answer]) -> Answer:
        if not self._breaker.allows():
            raise StorageFailed("The ledger failed a moment ago; it is tried again after a pause.")
        try:
            answer = call()
        except StorageFailed:
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        return answer
