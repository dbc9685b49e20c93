"""The policy of each placement, and its notation in environment variables."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property

from feature_repo.names import PLACEMENTS
from serving.errors import SettingsRefused
from serving.runtime.environment import number

DETERMINISTIC, EPSILON_GREEDY, PLACKETT_LUCE = "deterministic", "epsilon_greedy", "plackett_luce"

_VARIABLE, _LIMIT_VARIABLE = "CLIPWISE_POLICY", "CLIPWISE_DEPARTMENT_LIMIT"
_EXAMPLE = "deterministic, epsilon_greedy:0.1 or plackett_luce:0.5"


@dataclass(frozen=True)
class Policy:
    """The way from scores to a list: deterministic, epsilon-greedy or Plackett-Luce.

    ``epsilon`` is the share of random turns. ``temperature`` is in units of the score; a higher one
    makes all coupons more equally likely. ``department_limit`` is the most coupons of one
    department in a list, None for any number. Raises SettingsRefused for a value out of range.

    >>> Policy(PLACKETT_LUCE, temperature=0.5).summary()
    {'kind': 'plackett_luce', 'temperature': 0.5, 'department_limit': None}
    """

    kind: str = DETERMINISTIC
    epsilon: float = 0.0
    temperature: float = 1.0
    department_limit: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 1:
            raise SettingsRefused(f"Expected an epsilon from 0 to 1, got {self.epsilon:g}.")
        if not 1e-6 <= self.temperature <= 1e9:
            raise SettingsRefused(
                f"Expected a temperature from 0.000001 to 1e9, got {self.temperature:g}; without "
                f"exploration, write {DETERMINISTIC}."
            )
        if self.department_limit is not None and self.department_limit < 1:
            raise SettingsRefused(
                f"Expected in {_LIMIT_VARIABLE} at least 1 coupon of a department, got "
                f"{self.department_limit}; leave it out for any number."
            )

    @property
    def is_plain(self) -> bool:
        """True if the list is the highest scores, without draws and limits."""
        return self.kind == DETERMINISTIC and self.department_limit is None

    def summary(self) -> dict[str, str | int | float | None]:
        """Returns the kind, its parameter and the department limit, without unused parameters."""
        used = {EPSILON_GREEDY: "epsilon", PLACKETT_LUCE: "temperature"}.get(self.kind)
        kept = ("kind", used, "department_limit")
        return {name: value for name, value in asdict(self).items() if name in kept}

    @cached_property
    def as_json(self) -> str:
        """The policy as JSON, for the decision log."""
        return json.dumps(self.summary())


@dataclass(frozen=True)
class Policies:
    """The policies of all placements: that of ``by_placement``, else ``default``."""

    default: Policy = Policy()
    by_placement: Mapping[str, Policy] = field(default_factory=dict)

    def policy_for(self, placement: str) -> Policy:
        """Returns the policy of a placement."""
        return self.by_placement.get(placement, self.default)

    @property
    def has_department_limit(self) -> bool:
        """True if a policy limits the coupons of one department."""
        policies = (self.default, *self.by_placement.values())
        return any(policy.department_limit is not None for policy in policies)


def policies_from_environment(environ: Mapping[str, str]) -> Policies:
    """Reads ``CLIPWISE_POLICY`` and ``CLIPWISE_DEPARTMENT_LIMIT``. Raises SettingsRefused.

    >>> environ = {"CLIPWISE_POLICY": "plackett_luce:0.5,checkout=deterministic"}
    >>> policies = policies_from_environment(environ)
    >>> policies.policy_for("home").kind, policies.policy_for("checkout").kind
    ('plackett_luce', 'deterministic')
    """
    limit = _department_limit(environ)
    named: dict[str, Policy] = {}
    for part in (environ.get(_VARIABLE) or DETERMINISTIC).split(","):
        placement, equals, text = part.strip().rpartition("=")
        if equals and placement not in PLACEMENTS:
            raise SettingsRefused(
                f"Expected in {_VARIABLE} one of {', '.join(PLACEMENTS)} before the =, got "
                f"{placement!r}."
            )
        if placement in named:
            raise SettingsRefused(
                f"Expected in {_VARIABLE} one policy for {placement or 'all placements'}, got "
                f"another: {text!r}."
            )
        named[placement] = _policy(text, limit)
    default = named.pop("", Policy(department_limit=limit))
    return Policies(default, named)


def _policy(text: str, limit: int | None) -> Policy:
    kind, colon, size = text.partition(":")
    parameter = {EPSILON_GREEDY: "epsilon", PLACKETT_LUCE: "temperature"}.get(kind)
    if bool(colon) != (parameter is not None) or kind not in (DETERMINISTIC, parameter and kind):
        raise SettingsRefused(f"Expected in {_VARIABLE} {_EXAMPLE}, got {text!r}.")
    try:
        given = {parameter: float(size)} if parameter else {}
    except ValueError:
        raise SettingsRefused(
            f"Expected in {_VARIABLE} a number after {kind}:, got {size!r}; write {_EXAMPLE}."
        ) from None
    return Policy(kind, department_limit=limit, **given)


def _department_limit(environ: Mapping[str, str]) -> int | None:
    limit = number(
        environ,
        _LIMIT_VARIABLE,
        None,
        lambda limit: limit >= 1 and limit.is_integer(),
        "a whole number of coupons of one department in a list, at least 1 (leave it out for any)",
    )
    return None if limit is None else int(limit)
