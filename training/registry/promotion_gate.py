"""The promotion gate: decides from measurements whether a new ranker is safe to promote."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.evaluation.breadth import breadth
from training.evaluation.compare import PRIMARY, Comparison, SliceComparison
from training.evaluation.orders import WithoutOrder
from training.evaluation.slices import BROAD

BETTER, NOT_WORSE, WORSE, NO_CHAMPION = "better", "not_worse", "worse", "no_champion"


@dataclass(frozen=True)
class Gate:
    """The requirements of the gate, fixed before a ranker is measured.

    Models are compared in ``metric`` by the paired 95% interval of the difference. A loss of
    ``champion_margin`` to the champion must lie below the interval. ``least_groups`` and
    ``least_slice_groups`` are the fewest test groups with an order, of all groups and of a slice.
    ``latency_budget`` is in milliseconds for 100 candidates.
    """

    metric: str = PRIMARY
    champion_margin: float = 0.01
    least_groups: int = 100
    least_slice_groups: int = 30
    latency_budget: float = 10.0


@dataclass(frozen=True)
class Measurements:
    """All measurements of a registered version that the gate decides on.

    ``slices`` compare it with its opponent: the champion, or the best plain rule without one.
    ``rule_slices`` compare it with that rule in every month and campaign. ``frame_problem`` is None
    for a valid training frame. ``differing`` of ``pairs`` test pairs have another score from the
    reloaded model than from the run. ``latency`` is the median time of scoring 100 candidates, in
    milliseconds.
    """

    metric: str
    against_rule: Comparison
    against_champion: Comparison | None
    without_order: WithoutOrder
    rule_slices: Sequence[SliceComparison]
    slices: Sequence[SliceComparison]
    frame_problem: str | None
    differing: int
    pairs: int
    latency: float


@dataclass(frozen=True)
class Check:
    """One requirement, its outcome, and a sentence with the numbers."""

    name: str
    held: bool
    reason: str


@dataclass(frozen=True)
class Decision:
    """The checks of the gate, and the verdict on the ranker against the champion."""

    checks: tuple[Check, ...]
    verdict: str

    @property
    def passed(self) -> bool:
        """True if every check held, so that the version is safe to promote."""
        return all(check.held for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons of all checks, one or two sentences each."""
        return tuple(check.reason for check in self.checks)


def decide(gate: Gate, measured: Measurements) -> Decision:
    """Checks the measurements against the gate; a version passes if every check holds.

    Raises ValueError if the measured metric is not the gate's.
    """
    if measured.metric != gate.metric:
        raise ValueError(
            f"Expected measurements of {gate.metric}, got {measured.metric}: measure {gate.metric}."
        )
    checks = (
        _enough(gate, measured.against_rule, measured.without_order),
        _beats_rule(gate, measured.against_rule),
        _holds_champion(gate, measured.against_champion),
        _broad(gate, measured),
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


def _enough(gate: Gate, measured: Comparison, without: WithoutOrder) -> Check:
    held = measured.groups >= gate.least_groups
    return Check(
        "enough groups",
        held,
        f"The test has {measured.groups:,} groups with an order, which is "
        f"{'enough' if held else 'too few'}: the gate needs at least {gate.least_groups:,}. "
        f"{without.sentence}",
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
        f"{gate.metric} of this version is {measured.ranker_value:.4f}, of {_other(measured)} "
        f"{measured.other_value:.4f}. The difference is {measured.difference:+.4f}, with a 95% "
        f"interval from {measured.low:+.4f} to {measured.high:+.4f}. The lower bound is "
        f"{'above' if held else 'not above'} {bound:+.4f}.",
    )


def _broad(gate: Gate, measured: Measurements) -> Check:
    """Fails if a month or campaign is worse than the rule, or than the champion if there is one."""
    against_champion = [
        one for one in measured.slices if one.slicing in BROAD and measured.against_champion
    ]
    held, reason = _judged(gate, [*measured.rule_slices, *against_champion], "months and campaigns")
    found = breadth(measured.against_rule.other, measured.rule_slices, gate.least_slice_groups)
    return Check("no month or campaign is worse", held, f"{reason} {found.sentences}")


def _slices(gate: Gate, slices: Sequence[SliceComparison]) -> Check:
    others = [one for one in slices if one.slicing not in BROAD]
    return Check("no slice is worse", *_judged(gate, others, "slices"))


def _judged(gate: Gate, slices: Sequence[SliceComparison], kind: str) -> tuple[bool, str]:
    """Fails if a slice with enough groups has an interval that lies below zero."""
    judged = [one for one in slices if one.groups >= gate.least_slice_groups]
    worse = [
        f"{_name(one)} ({against.difference:+.4f} against {_other(against)}, interval up to "
        f"{against.high:+.4f}, {one.groups} groups)"
        for one in judged
        for against in [one.against]
        if against is not None and against.high < 0
    ]
    count = f"{len(worse) or 'none'} {'are' if len(worse) > 1 else 'is'} worse with 95% confidence"
    number = len(set(map(_name, judged)))
    reason = f"Of the {kind} with at least {gate.least_slice_groups} groups ({number}), {count}"
    reason += f": {', '.join(worse)}." if worse else "."
    small = [f"{_name(one)} ({one.groups})" for one in slices if one not in judged]
    if small:
        few = ", ".join(dict.fromkeys(small))
        reason += f" Not judged, because they have too few groups: {few}."
    return not worse, reason


def _name(one: SliceComparison) -> str:
    return f"{one.slicing} {one.part}"


def _other(measured: Comparison) -> str:
    return measured.other.replace("_", " ")


def _frame(problem: str | None) -> Check:
    reason = (
        "The training frame is valid."
        if problem is None
        else f"The training frame is not valid. {problem}"
    )
    return Check("valid training frame", problem is None, reason)


def _reloaded(measured: Measurements) -> Check:
    name, pairs = "reloaded model gives the same scores", f"{measured.pairs:,} test pairs"
    if measured.pairs == 0:
        return Check(name, False, "The model loaded from the registry has scored no test pair.")
    if measured.differing == 0:
        reason = f"The model loaded from the registry gives all {pairs} the scores of its run."
        return Check(name, True, reason)
    return Check(
        name,
        False,
        f"The model loaded from the registry gives {measured.differing:,} of {pairs} another "
        "score than its run did. All scores must agree bit for bit.",
    )


def _fast(gate: Gate, latency: float) -> Check:
    held = latency <= gate.latency_budget
    return Check(
        "fast enough",
        held,
        f"Scoring 100 candidates takes {latency:.2f} ms (median), which is "
        f"{'within' if held else 'over'} the budget of {gate.latency_budget:g} ms.",
    )
