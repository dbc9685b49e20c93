"""Influence of the inputs: their effects on the scores of sampled test pairs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from feature_repo.transforms.request.reasons import CODES, REASON_CODES, Effects, effects_by_code
from training.data.frame import RankingFrame, group_sizes, groups, take

PAIRS = 10_000
"""Approximate number of explained pairs; groups are sampled as a whole."""

Explain = Callable[[np.ndarray], Effects]


@dataclass(frozen=True, eq=False)
class Influence:
    """Effects of the inputs on ``n`` sampled pairs, minus the mean of each pair's group.

    Only differences between the coupons of one exposure change their order. ``effects`` and
    ``values`` have the shape ``(n, inputs)``. ``strength`` is an input's mean absolute effect as a
    share of the sum over all inputs. ``by_code`` has the same shares by reason code.
    """

    effects: np.ndarray
    values: np.ndarray
    groups: int
    strength: dict[str, float]
    by_code: dict[str, float]

    def strongest(self, count: int) -> list[str]:
        """Returns the ``count`` strongest inputs, strongest first, without those of no effect."""
        moving = [name for name in self.strength if self.strength[name] > 0]
        return sorted(moving, key=lambda name: (-self.strength[name], name))[:count]

    def direction(self, name: str) -> float:
        """Returns the rank correlation of an input's value and its effect, from -1 to 1.

        NaN if values or effects do not differ.
        """
        from scipy.stats import spearmanr

        place = RANKER_INPUTS.index(name)
        value, effect = self.values[:, place], self.effects[:, place]
        known = ~np.isnan(value)
        if len(np.unique(value[known])) < 2 or len(np.unique(effect[known])) < 2:
            return float("nan")
        return float(spearmanr(value[known], effect[known]).statistic)


def influence(frame: RankingFrame, explain: Explain, seed: int, pairs: int = PAIRS) -> Influence:
    """Explains random groups until they have about ``pairs`` pairs."""
    starts = groups(frame)
    sizes = group_sizes(starts, len(frame))
    order = np.random.default_rng(seed).permutation(len(starts))
    wanted = order[: np.searchsorted(np.cumsum(sizes[order]), pairs) + 1]
    drawn = np.zeros(len(starts), bool)
    drawn[wanted] = True
    sample = take(frame, np.repeat(drawn, sizes))
    effects = _centered(explain(sample.inputs).by_input, sizes[drawn])
    strength = _shares(effects, RANKER_INPUTS)
    by_code = _shares(effects_by_code(effects), REASON_CODES)
    used = {code: by_code[code] for code in dict.fromkeys(CODES)}
    return Influence(effects, sample.inputs, int(drawn.sum()), strength, used)


def _centered(effects: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    means = np.add.reduceat(effects, starts, axis=0) / sizes[:, None]
    return effects - np.repeat(means, sizes, axis=0)


def _shares(effects: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    sizes = np.abs(effects).mean(axis=0)
    # Rounding errors are no effect.
    sizes[sizes < 1e-6] = 0.0
    return dict(zip(names, (sizes / (sizes.sum() or 1.0)).tolist(), strict=True))
