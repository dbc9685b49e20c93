"""Controlled exploration: draws a list of coupons, with the exact probability of each.

A list is drawn turn by turn from the open coupons. A coupon closes when it is drawn, or when its
exclusivity group or department is full. The propensity of a coupon is the probability of its turn:
that the policy draws it from the open coupons, given the turns before. The product of a list's
propensities is the probability of the list. Cascade estimators weigh by the propensities (McInerney
et al. 2020, Kiyohara et al. 2022). Inverse propensity scoring of whole lists needs their product.

A coupon that the ledger refused was drawn too: it keeps its turn, its group and its place in the
department, and is not shown.

A closed coupon never opens again. The sampler relies on it: the closed coupons carry no information
about the order of the open ones, which stays as random as before.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import shake_256
from itertools import count, islice

import numpy as np

from serving.candidates.unstated import UNSTATED
from serving.policy.policies import EPSILON_GREEDY, PLACKETT_LUCE, Policy

UniformSource = Callable[[int], np.ndarray]
"""Returns the given number of independent uniform numbers between 0 and 1, both excluded."""

_OPEN = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Quota:
    """At most ``limit`` coupons of one label.

    ``labels`` are int64, one a candidate, UNSTATED for none. Coupons that it closes are counted
    under its ``rule``.
    """

    labels: np.ndarray
    limit: int
    rule: str = ""


class ListSampler:
    """A sampler of one list from ``n`` candidates, each identified by its place, 0 the best.

    ``scores`` are in falling order. ``uniform`` is the source of randomness; the same source gives
    the same list. Epsilon-greedy takes the best open candidate at each turn or, with probability
    epsilon, any open candidate with equal probability. Plackett-Luce takes candidate i with
    probability proportional to exp(score_i / temperature) among the open ones (Plackett 1975, Luce
    1959). It adds Gumbel noise once and sorts (Yellott 1977; Kool et al. 2019). ``closed`` counts,
    by rule, the candidates that quotas closed.

    >>> policy = Policy(EPSILON_GREEDY, epsilon=0.1)
    >>> scores = np.array([3.0, 2.0, 1.0])
    >>> sampler = ListSampler(policy, scores, uniform_from("request-1"))
    >>> sampler.draw(2).tolist()
    [0, 1]
    >>> sampler.propensities().round(3).tolist()
    [0.933, 0.95]
    """

    def __init__(
        self,
        policy: Policy,
        scores: np.ndarray,
        uniform: UniformSource,
        quotas: Sequence[Quota] = (),
    ) -> None:
        self._policy = policy
        self._quotas: list[tuple[Quota, Counter[int]]] = [(quota, Counter()) for quota in quotas]
        self._turns: list[int] = []
        self.closed: Counter[str] = Counter()
        # The last turn at which each candidate was open.
        self._open_until = np.full(len(scores), _OPEN)
        self._best = self._any = _Queue(np.arange(len(scores)))
        self._explores = [False] * len(scores)
        if policy.kind == EPSILON_GREEDY:
            self._any = _Queue(np.argsort(uniform(len(scores))))
            self._explores = (uniform(len(scores)) < policy.epsilon).tolist()
        if policy.kind == PLACKETT_LUCE:
            self._logits = logits(scores, policy.temperature)
            gumbel = -np.log(-np.log(uniform(len(scores))))
            # Far below the best, logit + noise rounds to equal sums: the noise alone orders those.
            self._best = _Queue(np.lexsort((-gumbel, -(self._logits + gumbel))))

    def draw(self, count: int) -> np.ndarray:
        """Returns the places of the next ``count`` candidates, fewer if no more are open."""
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
        """Returns the probability of every turn so far, given the turns before it."""
        drawn, turns = np.array(self._turns, dtype=np.int64), np.arange(len(self._turns))
        if self._policy.kind not in (EPSILON_GREEDY, PLACKETT_LUCE):
            return np.ones(len(drawn))
        # Sorted by the last open turn, the candidates open at a turn are the first ``opened``.
        longest = np.argsort(-self._open_until, kind="stable")
        opened = np.searchsorted(-self._open_until[longest], -turns, side="right")
        if self._policy.kind == PLACKETT_LUCE:
            return _shares(self._logits[drawn], self._logits[longest], opened.tolist())
        best = np.minimum.accumulate(longest)[opened - 1] == drawn
        return self._policy.epsilon / opened + (1 - self._policy.epsilon) * best

    def _close(self, place: int, turn: int) -> None:
        """Closes the drawn candidate, and those that a full quota excludes."""
        self._open_until[place] = turn
        for quota, taken in self._quotas:
            label = int(quota.labels[place])
            if label == UNSTATED:
                continue
            taken[label] += 1
            if taken[label] == quota.limit:
                full = (quota.labels == label) & (self._open_until == _OPEN)
                self._open_until[full] = turn
                self.closed[quota.rule] += int(full.sum())


class _Queue:
    """Candidates in an order; closed ones are skipped once and not looked at again."""

    def __init__(self, order: np.ndarray) -> None:
        self._order = order.tolist()
        self._next = 0

    def next(self, open_until: np.ndarray) -> int | None:
        """Returns the first candidate that is still open, or None."""
        while self._next < len(self._order):
            place = self._order[self._next]
            if open_until[place] == _OPEN:
                return place
            self._next += 1
        return None


def logits(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Returns logarithms of Plackett-Luce weights, the highest 0.

    An unknown score (NaN) counts as the lowest.

    >>> logits(np.array([3.0, 2.0, np.nan]), temperature=0.5).tolist()
    [0.0, -2.0, -2.0]
    """
    unknown = np.isnan(scores)
    if unknown.any():
        scores = np.where(unknown, 0.0 if unknown.all() else np.nanmin(scores), scores)
    return (scores - scores.max(initial=-np.inf)) / temperature


def _shares(drawn: np.ndarray, longest: np.ndarray, opened: Sequence[int]) -> np.ndarray:
    """Returns the weight of each drawn logit as a share of the open ones: its softmax.

    At each turn the first ``opened`` of ``longest`` are open; ``opened`` falls. Weights are
    relative to the highest open one, so that small ones do not underflow.
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


def uniform_from(*names: object) -> UniformSource:
    """Returns a source of uniform numbers, the same for the same names.

    So a decision can be repeated on any machine. The numbers are SHAKE-256 of the names.

    >>> uniform_from("request-1", "user-1")(2).round(4).tolist()
    [0.7765, 0.2265]
    """
    seed, calls = "\0".join(map(str, names)), count()

    def uniform(size: int) -> np.ndarray:
        # A hash, as the streams of NumPy's generators may change with its version.
        random = shake_256(f"{next(calls)}\0{seed}".encode()).digest(8 * size)
        return ((np.frombuffer(random, dtype="<u8") >> 12) + 0.5) / 2**52

    return uniform
