"""Settings of the rules that hold for all coupons."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from serving.errors import SettingsRefused
from serving.runtime.environment import number
from serving.runtime.shares import share_of

USE_AND_BUDGET, BUDGET, NOTHING = RETURNS = ("use_and_budget", "budget", "nothing")
"""The parts of a redemption that it gives back when it is taken back."""


@dataclass(frozen=True)
class RuleSettings:
    """Settings of a shop for all coupons: holdout, reservations, the place of the ledger.

    ``holdout_share`` of the users, from 0 to 1, gets no coupons, so that the effect of coupons can
    be measured. Another ``holdout_salt`` selects other users. A coupon with a limit is reserved for
    the user who saw it for ``reservation_seconds``. ``ledger_redis``, as host:port, keeps the
    ledger in Redis instead of a file. ``canceled_returns`` is the part that a redemption gives back
    when its order is canceled, one of ``RETURNS``. Raises SettingsRefused for a value out of range.
    """

    holdout_share: float = 0.0
    holdout_salt: str = ""
    reservation_seconds: float = 900.0
    ledger_redis: str | None = None
    canceled_returns: str = USE_AND_BUDGET

    def __post_init__(self) -> None:
        if not 0 <= self.holdout_share <= 1:
            raise SettingsRefused(
                f"Expected a holdout share from 0 to 1, got {self.holdout_share}; 0.05 holds out "
                "one user in twenty."
            )
        if not 0 < self.reservation_seconds < float("inf"):
            raise SettingsRefused(
                f"Expected reservations of more than 0 seconds, got {self.reservation_seconds}."
            )
        if not re.fullmatch(r"[^:\s]+:\d{1,5}", self.ledger_redis or "localhost:6379"):
            raise SettingsRefused(
                f"Expected the ledger's Redis as host:port, got {self.ledger_redis!r}; write it "
                "like 127.0.0.1:6379."
            )

        if self.canceled_returns not in RETURNS:
            raise SettingsRefused(
                f"Expected what a canceled redemption gives back as one of {', '.join(RETURNS)}, "
                f"got {self.canceled_returns!r}."
            )

    def is_held_out(self, user_id: str) -> bool:
        """True if the user is in the holdout; fixed for a user and a salt."""
        return share_of(f"{self.holdout_salt}\0{user_id}") < self.holdout_share


def rules_from_environment(environ: Mapping[str, str]) -> RuleSettings:
    """Reads ``CLIPWISE_HOLDOUT_SHARE``, ``CLIPWISE_HOLDOUT_SALT``,
    ``CLIPWISE_RESERVATION_SECONDS``, ``CLIPWISE_LEDGER_REDIS`` and ``CLIPWISE_CANCELED_RETURNS``.

    Raises SettingsRefused.
    """
    return RuleSettings(
        number(
            environ,
            "CLIPWISE_HOLDOUT_SHARE",
            RuleSettings.holdout_share,
            lambda share: 0 <= share <= 1,
            "a share of users from 0 to 1 (0.05 is one in twenty)",
        ),
        environ.get("CLIPWISE_HOLDOUT_SALT", ""),
        number(
            environ,
            "CLIPWISE_RESERVATION_SECONDS",
            RuleSettings.reservation_seconds,
            lambda seconds: 0 < seconds < math.inf,
            "more than 0 seconds to reserve a coupon",
        ),
        environ.get("CLIPWISE_LEDGER_REDIS") or None,
        environ.get("CLIPWISE_CANCELED_RETURNS") or USE_AND_BUDGET,
    )
