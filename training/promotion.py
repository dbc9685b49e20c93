"""The gate: whether a new ranker is good enough to be shown to a reviewer. A pure decision."""

from dataclasses import dataclass

from training.evaluate import PRIMARY, Comparison, Evaluation


@dataclass(frozen=True)
class Gate:
    """What a ranker has to reach, fixed before it is measured.

    ``metric`` names what is compared. ``margin`` is the loss that the paired 95% interval may not
    rule out. ``least_groups`` is the number of test groups with a redeemed coupon below which the
    interval says little.
    """

    metric: str = PRIMARY
    margin: float = 0.01
    least_groups: int = 100


@dataclass(frozen=True)
class Decision:
    """Whether the gate was passed, and a sentence for every thing it looked at."""

    passed: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Check:
    held: bool
    reason: str


def decide(gate: Gate, measured: Evaluation) -> Decision:
    """Pass if the ranker beats the best plain rule and loses to no one by more than the margin.

    It needs enough groups, a difference to the rule above zero, and a lower bound above minus the
    margin against the rule and, when there is one, against the champion.
    """
    checks = [_enough(gate, measured.against_rule), _better(gate, measured.against_rule)]
    checks.append(_no_worse(gate, measured.against_rule))
    if measured.against_champion is not None:
        checks.append(_no_worse(gate, measured.against_champion))
    return Decision(all(check.held for check in checks), tuple(check.reason for check in checks))


def _enough(gate: Gate, measured: Comparison) -> _Check:
    held = measured.groups >= gate.least_groups
    verdict = "enough" if held else "too few"
    return _Check(
        held,
        f"{measured.groups} test groups with a redeemed coupon are {verdict}: "
        f"at least {gate.least_groups} are needed.",
    )


def _better(gate: Gate, measured: Comparison) -> _Check:
    held = measured.difference > 0
    verdict = "above" if held else "not above"
    return _Check(
        held,
        f"{gate.metric} of the ranker is {measured.ranker_value:.4f}, {verdict} "
        f"{measured.other_value:.4f} of the best plain rule, {measured.other}.",
    )


def _no_worse(gate: Gate, measured: Comparison) -> _Check:
    held = measured.low > -gate.margin
    verdict = "above" if held else "not above"
    return _Check(
        held,
        f"The difference in {gate.metric} to {measured.other} is {measured.difference:+.4f}, with "
        f"95% confidence from {measured.low:+.4f} to {measured.high:+.4f}: the lower bound is "
        f"{verdict} {-gate.margin:+.4f}.",
    )
