"""Controlled exploration: which coupon comes next in a list, and with exactly which probability.

A list is drawn turn by turn from the coupons that are still open: not drawn yet, and not closed
because their exclusivity group or department is full. The propensity of a coupon is the probability
of its turn: that the policy draws it from what is open then, given the turns before. Their product
is the probability of the list. These are what the estimators of cascades weigh by (McInerney et al.
2020, Kiyohara et al. 2022), and their product is what inverse propensity scoring of whole lists
needs. A coupon that the ledger refused was drawn too: it keeps its turn, its group and its place in
the department, and is not shown.

What was closed once never opens again, on which the drawing relies: whatever order the closed
ones were in, the order of the open ones is as random as before.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import shake_256
from itertools import count, islice

import numpy as np

from serving.policy.policies import EPSILON_GREEDY, PLACKETT_LUCE, Policy

Chance = Callable[[int], np.ndarray]
"""Gives so many independent numbers, even between 0 and 1, both left out."""

NO_LABEL = -1
_OPEN = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Quota:
    """At most ``most`` coupons of one label; ``labels`` are int64, one a candidate, -1 for none.

    What it closes is counted under the name of its ``rule``.
    """

    labels: np.ndarray
    most: int
    rule: str = ""


class Draw:
    """The draw of one list from ``n`` candidates, known by their place, 0 the best.

    ``scores`` are in falling order. ``chance`` decides; the same one gives the same list. For
    epsilon-greedy, each turn takes the best open candidate, or with probability epsilon any open
    one, all alike. For Plackett-Luce, a turn takes candidate i with probability proportional to
    exp(score_i / temperature) among the open ones (Plackett 1975, Luce 1959), by way of adding
    Gumbel noise once and sorting (Yellott 1977; Kool et al. 2019). ``closed`` counts, by rule, what
    the quotas keep from coming any more.
    """

    def __init__(
        self,
        policy: Policy,
        scores: np.ndarray,
        chance: Chance,
        quotas: Sequence[Quota] = (),
    ) -> None:
        self._policy = policy
        self._quotas = [(quota, Counter()) for quota in quotas]
        self._turns: list[int] = []
        self.closed: Counter[str] = Counter()
        # The last turn at which each candidate was open.
        self._open_until = np.full(len(scores), _OPEN)
        self._best = self._any = _Queue(np.arange(len(scores)))
        self._explores = [False] * len(scores)
        if policy.kind == EPSILON_GREEDY:
            self._any = _Queue(np.argsort(chance(len(scores))))
            self._explores = (chance(len(scores)) < policy.epsilon).tolist()
        if policy.kind == PLACKETT_LUCE:
            self._logits = logits(scores, policy.temperature)
            gumbel = -np.log(-np.log(chance(len(scores))))
            # Far below the best, a sum is too coarse to tell equal weights apart.
            self._best = _Queue(np.lexsort((-gumbel, -(self._logits + gumbel))))

    def take(self, count: int) -> np.ndarray:
        """Places of the next ``count`` candidates, fewer if no more are open."""
        before = len(self._turns)
        while len(self._turns) < before + count:
            turn = len(self._turns)
            explores = turn < len(self._explores) and self._explores[turn]
            place = (self._any if explores else self._best).next(self._open_until)
            if place is None:
                break
            self._close(place, turn)
            self._turns.append(place)
        return np.array(self._turns[before:], dtype=np.int64)

    def propensities(self) -> np.ndarray:
        """The probability of every turn so far, given those before it."""
        drawn, turns = np.array(self._turns, dtype=np.int64), np.arange(len(self._turns))
        if self._policy.kind not in (EPSILON_GREEDY, PLACKETT_LUCE):
            return np.ones(len(drawn))
        # Those open longest first: the ones open at a turn are then the first ``opened``.
        longest = np.argsort(-self._open_until, kind="stable")
        opened = np.searchsorted(-self._open_until[longest], -turns, side="right")
        if self._policy.kind == PLACKETT_LUCE:
            return _shares(self._logits[drawn], self._logits[longest], opened.tolist())
        best = np.minimum.accumulate(longest)[opened - 1] == drawn
        return self._policy.epsilon / opened + (1 - self._policy.epsilon) * best

    def _close(self, place: int, turn: int) -> None:
        """Close what was drawn, and what its quotas have no room for any more."""
        self._open_until[place] = turn
        for quota, taken in self._quotas:
            label = int(quota.labels[place])
            if label == NO_LABEL:
                continue
            taken[label] += 1
            if taken[label] == quota.most:
                full = (quota.labels == label) & (self._open_until == _OPEN)
                self._open_until[full] = turn
                self.closed[quota.rule] += int(full.sum())


class _Queue:
    """Candidates in an order, of which those that are closed are passed over for good."""

    def __init__(self, order: np.ndarray) -> None:
        self._order = order.tolist()
        self._next = 0

    def next(self, open_until: np.ndarray) -> int | None:
        """The first that is still open, or None."""
        while self._next < len(self._order):
            place = self._order[self._next]
            if open_until[place] == _OPEN:
                return place
            self._next += 1
        return None


def logits(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Logarithms of Plackett-Luce weights, the highest 0; an unknown score (NaN) is the lowest."""
    unknown = np.isnan(scores)
    if unknown.any():
        scores = np.where(unknown, 0.0 if unknown.all() else np.nanmin(scores), scores)
    return (scores - scores.max(initial=-np.inf)) / temperature


def _shares(drawn: np.ndarray, longest: np.ndarray, opened: Sequence[int]) -> np.ndarray:
    """The weight of each drawn logit among the first ``opened`` of ``longest``, fewer each turn.

    Weights are told relative to the highest that is open, so that those far below it lose nothing.
    """
    if not len(drawn):
        return np.empty(0)
    last = longest[: opened[-1]]
    peak = float(last.max())
    total = float(np.exp(last - peak).sum())
    shares, earlier, counted = [], iter(longest[opened[-1] :].tolist()), opened[-1]
    for logit, count_open in zip(reversed(drawn.tolist()), reversed(opened), strict=True):
        for other in islice(earlier, count_open - counted):
            if other > peak:
                total, peak = total * math.exp(peak - other), other
            total += math.exp(other - peak)
        shares.append(min(math.exp(logit - peak) / total, 1.0))
        counted = count_open
    return np.array(shares[::-1])


def chance_of(*names: object) -> Chance:
    """Chance that is the same whenever the names are, so that a decision can be made again."""
    seed, calls = "\0".join(map(str, names)), count()

    def uniform(size: int) -> np.ndarray:
        # Of bytes that are the same everywhere: NumPy's generators may change with its version.
        random = shake_256(f"{next(calls)}\0{seed}".encode()).digest(8 * size)
        return ((np.frombuffer(random, dtype="<u8") >> 12) + 0.5) / 2**52

    return uniform
