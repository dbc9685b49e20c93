"""The frame that a ranker learns from: one row for each request and candidate coupon."""

from dataclasses import dataclass, fields, replace

import numpy as np

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS

NEVER = np.iinfo(np.int64).max
"""The value of ``learned`` for a pair without a redemption."""

COUPON_REQUIRED: tuple[str, ...] = (
    "scope_product_count",
    "scope_category_count",
    "scope_brand_count",
    "scope_department_count",
    "covered_purchase_count_90d",
    "covered_coupon_purchase_count_90d",
)
"""Inputs that every coupon must have: its scope is announced before its first exposure."""


class FrameError(ValueError):
    """The frame is not fit for training; the message names the broken rule."""


@dataclass(frozen=True)
class RankingFrame:
    """``n`` pairs of a request and a candidate coupon; the pairs of a request are consecutive rows.

    ``qid``, ``user_id``, ``campaign_id`` and ``coupon_id`` are object arrays of str. A ``qid`` is
    one request, which is one group. ``campaign_id`` is that of the coupon: a group can span
    campaigns. Two columns are int8: ``label`` is 1 for a coupon that was redeemed at this visit,
    ``later`` is 1 for one redeemed at this visit or later.

    Three columns are instants in int64 microseconds, UTC. ``as_of`` is the request. An unredeemed
    pair stays unredeemed from ``open_until`` on. ``learned`` is when the redemption became known,
    or ``NEVER``.

    ``weight`` is float32: 1, or 1 / share for a group that was drawn with a share. ``inputs`` is
    float32 of shape ``(n, len(RANKER_INPUTS))``.
    """

    qid: np.ndarray
    user_id: np.ndarray
    campaign_id: np.ndarray
    coupon_id: np.ndarray
    as_of: np.ndarray
    label: np.ndarray
    later: np.ndarray
    open_until: np.ndarray
    learned: np.ndarray
    weight: np.ndarray
    inputs: np.ndarray

    def __len__(self) -> int:
        return len(self.qid)


def groups(frame: RankingFrame) -> np.ndarray:
    """Returns the first row of every group, ascending."""
    return group_starts(frame.qid)


def group_starts(qid: np.ndarray) -> np.ndarray:
    """Returns the rows at which a run of equal qids begins.

    >>> group_starts(np.array(["a", "a", "b"])).tolist()
    [0, 2]
    """
    if len(qid) == 0:
        return np.empty(0, dtype=np.int64)
    return np.concatenate([[0], np.flatnonzero(qid[1:] != qid[:-1]) + 1])


def group_sizes(starts: np.ndarray, row_count: int) -> np.ndarray:
    """Returns the number of rows of each group.

    >>> group_sizes(np.array([0, 2]), row_count=3).tolist()
    [2, 1]
    """
    return np.diff(np.append(starts, row_count))


def take(frame: RankingFrame, rows: np.ndarray) -> RankingFrame:
    """Selects rows by a Boolean mask or by ascending positions."""
    return replace(frame, **{f.name: getattr(frame, f.name)[rows] for f in fields(frame)})


def shared(frame: RankingFrame, rows: np.ndarray) -> RankingFrame:
    """Selects rows by a Boolean mask, as ``take`` does, but a single run of rows is not copied.

    The result then shares its memory with ``frame``, and keeps all of it.
    """
    chosen = np.flatnonzero(rows)
    if len(rows) != len(frame) or len(chosen) == 0 or chosen[-1] - chosen[0] >= len(chosen):
        return take(frame, rows)
    run = slice(chosen[0], chosen[-1] + 1)
    return replace(frame, **{f.name: getattr(frame, f.name)[run] for f in fields(frame)})


def concatenated(*frames: RankingFrame) -> RankingFrame:
    """Concatenates the rows of several frames."""
    parts = {f.name: [getattr(one, f.name) for one in frames] for f in fields(RankingFrame)}
    return RankingFrame(**{name: np.concatenate(arrays) for name, arrays in parts.items()})


def column(frame: RankingFrame, name: str) -> np.ndarray:
    """Returns the values of one input by its name. Raises KeyError for an unknown name."""
    if name not in RANKER_INPUTS:
        raise KeyError(f"Expected one of RANKER_INPUTS, got {name!r}.")
    return frame.inputs[:, RANKER_INPUTS.index(name)]


def check_frame(frame: RankingFrame) -> None:
    """Raises FrameError unless the frame is fit for training.

    All columns must have the same number of rows. A group must be consecutive rows with one user,
    one instant and one weight above 0. At least one label must be positive, and no coupon may be
    redeemed now but not now or later. Every ``COUPON_REQUIRED`` input must have a value in every
    row.
    """
    _check_shape(frame)
    _check_groups(frame)
    _check_labels(frame)
    _check_required(frame)


def frame_problem(frame: RankingFrame) -> str | None:
    """Returns the message of ``check_frame``'s error, or None if the frame is fit for training."""
    try:
        check_frame(frame)
    except FrameError as error:
        return str(error)
    return None


def _check_labels(frame: RankingFrame) -> None:
    if not frame.label.any():
        raise FrameError(
            f"Expected at least one redeemed coupon, got none in {len(frame)} pairs: "
            "ingest redemptions, or train on a longer window."
        )
    wrong = np.flatnonzero(frame.label > frame.later)
    if len(wrong):
        raise FrameError(
            "Expected later = 1 for every coupon with label 1, got 0 for "
            f"{len(wrong)} pairs, first for qid {frame.qid[wrong[0]]!r}: a redemption at the visit "
            "is also one at the visit or later."
        )


def _check_shape(frame: RankingFrame) -> None:
    if len(frame) == 0:
        raise FrameError(
            "Expected pairs of requests and coupons, got none: ingest exposures of campaigns "
            "whose coupons are in the lake."
        )
    expected = (len(frame), len(RANKER_INPUTS))
    if frame.inputs.shape != expected:
        raise FrameError(
            f"Expected inputs of shape {expected}, got {frame.inputs.shape}: form them with "
            "feature_repo.transforms.request.ranker_inputs, one row for each pair."
        )
    for field in fields(frame):
        if len(getattr(frame, field.name)) != len(frame):
            raise FrameError(
                f"Expected {len(frame)} values of {field.name}, got "
                f"{len(getattr(frame, field.name))}: pass one value for each pair."
            )


def _check_groups(frame: RankingFrame) -> None:
    starts = groups(frame)
    if len(set(frame.qid[starts])) != len(starts):
        raise FrameError(
            f"Expected the pairs of each request in consecutive rows, got {len(starts)} runs for "
            f"{len(set(frame.qid[starts]))} requests: sort the frame by qid."
        )
    first = np.repeat(starts, group_sizes(starts, len(frame)))
    for name in ("user_id", "as_of", "weight"):
        values = getattr(frame, name)
        mixed = np.flatnonzero(values != values[first])
        if len(mixed):
            raise FrameError(
                f"Expected one {name} for each request, got several for qid "
                f"{frame.qid[mixed[0]]!r}: use a different qid for each request."
            )
    if not (frame.weight > 0).all():
        raise FrameError(
            f"Expected weights above 0, got {frame.weight.min()}: use 1, or 1 / share for a group "
            "that was drawn with a share."
        )


def _check_required(frame: RankingFrame) -> None:
    for name in COUPON_REQUIRED:
        missing = np.flatnonzero(np.isnan(column(frame, name)))
        if len(missing):
            raise FrameError(
                f"Expected {name} for every pair, got none for {len(missing)}, first for coupon "
                f"{frame.coupon_id[missing[0]]!r}: announce a coupon and its scope before its "
                "first exposure and build the features again."
            )
