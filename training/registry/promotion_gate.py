"""The gate: whether a new ranker is good enough to be shown to a reviewer. A pure decision."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.evaluation.compare import PRIMARY, Comparison, SliceComparison

BETTER, NOT_WORSE, WORSE, NO_CHAMPION = "better", "not_worse", "worse", "no_champion"


@dataclass(frozen=True)
class Gate:
    """What a ranker has to reach, fixed before it is measured.

    ``metric`` is the primary metric, in which everything is compared by the paired 95% interval of
    the difference. ``champion_margin`` is the loss to the champion that the interval has to rule
    out. ``least_groups`` and ``least_slice_groups`` are the test groups with a redeemed coupon
    below which an interval says little. ``latency_budget`` is in milliseconds for 100 candidates.
    """

    metric: str = PRIMARY
    champion_margin: float = 0.01
    least_groups: int = 100
    least_slice_groups: int = 30
    latency_budget: float = 10.0


@dataclass(frozen=True)
class Measured:
    """What was measured of a registered version, all that the gate decides on.

    ``slices`` are beside what the version would replace: the champion, or the best plain rule
    while there is none. ``frame_problem`` is why the training frame is invalid, or None.
    ``differing`` of ``pairs`` test pairs have another score by the re-loaded model than the run
    gave them. ``latency`` is the median time of scoring 100 candidates, in milliseconds.
    """

    metric: str
    against_rule: Comparison
    against_champion: Comparison | None
    slices: Sequence[SliceComparison]
    frame_problem: str | None
    differing: int
    pairs: int
    latency: float


@dataclass(frozen=True)
class Check:
    """One thing the gate looked at, whether it held, and a sentence with the figures."""

    name: str
    held: bool
    reason: str


@dataclass(frozen=True)
class Decision:
    """What the gate looked at, and how the ranker stands to the champion."""

    checks: tuple[Check, ...]
    verdict: str

    @property
    def passed(self) -> bool:
        """Whether the version is safe to promote: every check held."""
        return all(check.held for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """A sentence for every check."""
        return tuple(check.reason for check in self.checks)


def decide(gate: Gate, measured: Measured) -> Decision:
    """Hold what was measured against the gate; a version passes if every check holds.

    Raises ValueError if another metric was measured than the gate names.
    """
    if measured.metric != gate.metric:
        raise ValueError(
            f"Expected {gate.metric}, which the gate names, got {measured.metric}: measure that."
        )
    checks = (
        _enough(gate, measured.against_rule),
        _beats_rule(gate, measured.against_rule),
        _holds_champion(gate, measured.against_champion),
        _slices(gate, measured.slices),
        _frame(measured.frame_problem),
        _reloaded(measured),
        _fast(gate, measured.latency),
    )
    return Decision(checks, _verdict(gate, measured.against_champion))


def _verdict(gate: Gate, champion: Comparison | None) -> str:
    if champion is None:
        return NO_CHAMPION
    if champion.low > 0:
        return BETTER
    return NOT_WORSE if champion.low > -gate.champion_margin else WORSE


def _enough(gate: Gate, measured: Comparison) -> Check:
    held = measured.groups >= gate.least_groups
    return Check(
        "enough groups",
        held,
        f"{measured.groups} test groups with a redeemed coupon are "
        f"{'enough' if held else 'too few'}: at least {gate.least_groups} are needed.",
    )


def _beats_rule(gate: Gate, measured: Comparison) -> Check:
    return _above("better than the best plain rule", gate, measured, 0.0)


def _holds_champion(gate: Gate, measured: Comparison | None) -> Check:
    name = "no worse than the champion"
    if measured is None:
        return Check(name, True, "There is no champion to compare with.")
    return _above(name, gate, measured, -gate.champion_margin)


def _above(name: str, gate: Gate, measured: Comparison, bound: float) -> Check:
    held = measured.low > bound
    return Check(
        name,
        held,
        f"{gate.metric} is {measured.ranker_value:.4f}, of {measured.other} "
        f"{measured.other_value:.4f}: a difference of {measured.difference:+.4f}, with 95% "
        f"confidence from {measured.low:+.4f} to {measured.high:+.4f}; the lower bound is "
        f"{'above' if held else 'not above'} {bound:+.4f}.",
    )


def _slices(gate: Gate, slices: Sequence[SliceComparison]) -> Check:
    """No slice falls: none of enough groups has an interval that lies below zero."""
    judged = [one for one in slices if one.groups >= gate.least_slice_groups]
    fallen = [one for one in judged if one.against.high < 0]
    said = [f"Of {len(judged)} slices with at least {gate.least_slice_groups} groups "]
    said += ["none falls" if not fallen else f"{len(fallen)} fall: {_fallen(fallen)}"]
    small = [f"{_named(one)} ({one.groups})" for one in slices if one not in judged]
    said += [f"; not judged, for too few groups: {', '.join(small)}"] if small else []
    return Check("no slice falls", not fallen, f"{''.join(said)}.")


def _fallen(slices: Sequence[SliceComparison]) -> str:
    return ", ".join(
        f"{_named(one)} ({one.against.difference:+.4f} to {one.against.other}, at most "
        f"{one.against.high:+.4f}, {one.groups} groups)"
        for one in slices
    )


def _named(one: SliceComparison) -> str:
    return f"{one.slicing} {one.part}"


def _frame(problem: str | None) -> Check:
    reason = "The training frame is valid." if problem is None else f"Invalid frame: {problem}"
    return Check("valid training frame", problem is None, reason)


def _reloaded(measured: Measured) -> Check:
    held = measured.pairs > 0 and measured.differing == 0
    return Check(
        "re-loaded model scores alike",
        held,
        f"The model, loaded again from the registry, scores {measured.differing:,} of "
        f"{measured.pairs:,} test pairs other than its run did; "
        f"{'as it should be' if held else 'all have to agree bit for bit'}.",
    )


def _fast(gate: Gate, latency: float) -> Check:
    held = latency <= gate.latency_budget
    return Check(
        "fast enough",
        held,
        f"100 candidates are scored in {latency:.2f} ms (median), "
        f"{'within' if held else 'over'} the budget of {gate.latency_budget:g} ms.",
    )
