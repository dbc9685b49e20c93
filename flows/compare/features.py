"""The comparison of features between two lake versions, or between offline and online stores."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State, instant
from flows.compare.comparison import DiffError, FeatureDiff, Selection, compare
from flows.compare.readers import (
    KINDS,
    OfflineReader,
    OnlineReader,
    View,
    ids_in_changed_files,
)
from flows.materialize import apply, feature_store, publish_features, view_names
from flows.runtime import prepare_environment


@dataclass(frozen=True)
class DiffOptions:
    """The options of ``clipwise features diff``: two lake versions, or offline and online.

    ``left`` and ``right`` are lake versions, and ``as_of`` the instant at which both are read.
    """

    left: int | None = None
    right: int | None = None
    as_of: str | None = None
    online: bool = False
    selection: Selection = field(default_factory=Selection)


def diff(options: DiffOptions) -> FeatureDiff:
    """Compares two lake versions or, with ``online``, the offline with the online store.

    Raises DiffError if ``online`` comes with lake versions or an instant. Also raises the errors of
    ``diff_versions`` and ``diff_online``.
    """
    if not options.online:
        return diff_versions(options.left, options.right, options.as_of, options.selection)
    if (options.left, options.right) != (None, None):
        raise DiffError("Expected --online or --from and --to, got both; leave out one of them.")
    if options.as_of:
        raise DiffError(
            "Expected --online without --as-of, got both. The online store has only the values of "
            "its last materialization; leave out --as-of."
        )
    return diff_online(options.selection)


def diff_versions(
    left: int | None, right: int | None, as_of: str | None, selection: Selection
) -> FeatureDiff:
    """Compares two lake versions, by default the current one with the one before it.

    Both are read at one instant, by default the earlier of their watermarks. A sample first takes
    the entities in rows that only one version has. Raises LakeError or DiffError for missing
    versions, views and entities, and for an instant after a watermark.
    """
    lake = Lake(prepare_environment())
    one, other = (lake.state(number) for number in _version_pair(lake, left, right))
    moment = _common_instant(one, other, as_of)
    views = [_view(view, moment) for view in _registered_views(selection.views)]
    first = {kind: ids_in_changed_files(lake, one, other, kind) for kind in KINDS}
    readers = (_version_reader(lake, one, moment), _version_reader(lake, other, moment))
    found = compare(*readers, views, replace(selection, first=first))
    return replace(found, first="beginning with those that have new rows")


def _version_reader(lake: Lake, state: State, as_of: datetime) -> OfflineReader:
    publish_features(lake, state, f"features of version {state.number}")
    return OfflineReader(f"version {state.number}", feature_store(), lake, state, as_of)


def _common_instant(left: State, right: State, as_of: str | None) -> datetime:
    """Returns the instant at which both versions are read."""
    earlier = min((left, right), key=lambda state: state.watermark)
    moment = instant(as_of) if as_of else earlier.watermark
    if moment > earlier.watermark:
        raise DiffError(
            f"Lake version {earlier.number} is complete up to {earlier.watermark.isoformat()}, so "
            f"it cannot be compared as of {moment.isoformat()}. Choose an instant no later."
        )
    return moment


def _version_pair(lake: Lake, left: int | None, right: int | None) -> tuple[int, int]:
    """Fills in the default versions: the current one, and the one before it."""
    current = lake.state().number
    numbers = lake.numbers()
    if right is None:
        right = current
    if left is None:
        left = max((number for number in numbers if number < right), default=None)
    if left is None:
        raise DiffError(
            f"There is no lake version before {right}; ingest more, name another one with --from, "
            "or compare with --online."
        )
    if left == right:
        raise DiffError(
            f"Expected two lake versions, got {left} twice; the lake has {numbers[0]} to "
            f"{numbers[-1]}."
        )
    return left, right


def diff_online(selection: Selection) -> FeatureDiff:
    """Compares the offline store on the current lake version with the online store.

    Each view is read as of the end of its last materialization. Raises LakeError or DiffError for a
    missing lake, missing views or entities, and views that are not online yet.
    """
    lake = Lake(prepare_environment())
    state = lake.state()
    found = [one for one in _registered_views(selection.views) if one.online]
    missing = [one.name for one in found if one.most_recent_end_time is None]
    if missing:
        raise DiffError(
            f"Expected features online, but {', '.join(missing)} was never materialized. Run "
            "`clipwise materialize` first."
        )
    views = [_view(one, one.most_recent_end_time) for one in found]
    until = max(view.as_of for view in views)
    if until > state.watermark:
        raise DiffError(
            f"The online store is complete up to {until.isoformat()}, beyond the lake, which ends "
            f"at {state.watermark.isoformat()}. Ingest the missing rows, or start with a new "
            "CLIPWISE_HOME."
        )
    publish_features(lake, state, f"features of version {state.number}")
    offline = OfflineReader("offline", feature_store(), lake, state, until)
    return compare(offline, OnlineReader(feature_store()), views, selection)


def _registered_views(names: Sequence[str]) -> list[Any]:
    """Returns Feast's views of users, products and coupons, all or the named ones.

    Applies the definitions first if some are not registered.
    """
    store = feature_store()
    if not {one.name for one in store.list_feature_views()} >= set(view_names()):
        store = apply()
    found = {one.name: one for one in store.list_feature_views() if _kinds(one)}
    unknown = [name for name in names if name not in found]
    if unknown:
        raise DiffError(f"There is no view {unknown[0]!r}; there are {', '.join(found)}.")
    return [one for name, one in found.items() if not names or name in names]


def _kinds(view: Any) -> list[str]:
    """Returns the kind of entity of a view, in a list; an empty list for any other view."""
    return [kind for kind, (key, _table) in KINDS.items() if list(view.join_keys) == [key]]


def _view(view: Any, as_of: datetime) -> View:
    (kind,) = _kinds(view)
    return View(view.name, kind, tuple(one.name for one in view.features), as_of)
