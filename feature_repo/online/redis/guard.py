"""The rows of one view in Redis: written, taken out and found by comparing and setting."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from feast.feature_view import FeatureView
from feast.infra.key_encoding_utils import deserialize_entity_key
from feast.infra.online_stores.helpers import _redis_key_prefix
from feast.infra.online_stores.redis import _versioned_fv_name
from feast.repo_config import RepoConfig

from feature_repo.online.format.encoding import encode_instants
from feature_repo.online.format.progress_mark import Mark, taken_over
from feature_repo.online.format.rows import OnlineRows, microseconds
from feature_repo.online.format.wire_format import Block
from feature_repo.online.redis.calls import call
from feature_repo.online.redis.lua_scripts import (
    ADVANCE,
    TAKE,
    created_field,
    remove_script,
    timestamp_field,
    write_script,
)

_NO_BOUND = b"-"


@dataclass(frozen=True)
class Place:
    """Where a view's rows are: a client, and what the keys and fields are named by."""

    client: Any
    project: bytes
    view: str
    features: tuple[str, ...]
    join_keys: tuple[str, ...]
    expire: int | None
    key_version: int

    @classmethod
    def of(cls, client: Any, config: RepoConfig, view: FeatureView) -> "Place":
        return cls(
            client,
            config.project.encode(),
            _versioned_fv_name(view, config),
            tuple(feature.name for feature in view.features),
            tuple(view.join_keys),
            config.online_store.key_ttl_seconds,
            config.entity_key_serialization_version,
        )

    @property
    def prefix(self) -> bytes:
        """How the keys of these entities begin."""
        return _redis_key_prefix(list(self.join_keys))

    @property
    def mark_key(self) -> bytes:
        """A key that no entity has, and that Feast takes out together with the view's rows."""
        return self.prefix + f"materialized:{self.view}:".encode() + self.project


def write(place: Place, rows: OnlineRows, bound: datetime | None) -> int:
    """Write rows, each unless a newer one is held; gives how many.

    A held row of an event before ``bound`` is replaced in any case.
    """
    limit = Block.of(_NO_BOUND if bound is None else _encoded(bound), len(rows))
    script = write_script(place.view, tuple(rows.values), place.expire)
    keys = [key + place.project for key in rows.keys]
    events = encode_instants(rows.event)
    return call(place.client, script, keys, events, _created(rows), limit, *rows.values.values())


def _created(rows: OnlineRows) -> Sequence[bytes]:
    """When the rows were learned; empty for those that were when they happened."""
    differs = rows.learned != rows.event
    if not differs.any():
        return Block.of(b"", len(rows))
    learned = zip(encode_instants(rows.learned), differs, strict=True)
    return [encoded if own else b"" for encoded, own in learned]


def remove(place: Place, keys: Sequence[bytes], bound: datetime | None) -> int:
    """Take out the rows of these entities that are of an event before ``bound``."""
    if not keys:
        return 0
    script = remove_script(place.view, place.features)
    own = [key + place.project for key in keys]
    return call(place.client, script, own, Block.of(_encoded(bound), len(own)))


def stray_keys(place: Place, keep: set[bytes]) -> Iterator[bytes]:
    """The entity keys in Redis that are not among those to keep."""
    for found in place.client.scan_iter(_pattern(place), count=1000):
        key = found.removesuffix(place.project)
        if key not in keep and _is_entity(key, place):
            yield key


def drop_created(place: Place) -> None:
    """Take out our field of every row of the view."""
    with place.client.pipeline(transaction=False) as pipeline:
        for key in place.client.scan_iter(_pattern(place), count=1000):
            pipeline.hdel(key, created_field(place.view))
        pipeline.execute()


def read_mark(place: Place) -> Mark | None:
    # Where rows expire by themselves, a mark cannot say what is there.
    text = None if place.expire else place.client.hget(place.mark_key, "mark")
    return text and Mark.from_json(text.decode())


def take(place: Place, mark: Mark, held: Mark | None) -> bool:
    """Put a run's mark in place of the one that it has read; False if that has moved."""
    expected = "*" if place.expire else held.to_json() if held else ""
    arguments = timestamp_field(place.view), mark.run, mark.to_json(), expected
    return bool(place.client.eval(TAKE, 1, place.mark_key, *arguments))


@contextmanager
def moving(place: Place, mark: Mark | None) -> Iterator[None]:
    """What is done inside is a run's, and its mark moves when it is done.

    Raises MaterializationRefused before or after it if another run took over.
    """
    if mark is None:
        yield
        return
    if place.client.hget(place.mark_key, "run") != mark.run.encode():
        raise taken_over(place.view)
    yield
    if not place.client.eval(ADVANCE, 1, place.mark_key, mark.run, mark.to_json()):
        raise taken_over(place.view)


def _encoded(bound: datetime) -> bytes:
    return encode_instants(microseconds([bound]))[0]


def _pattern(place: Place) -> bytes:
    """Matches every key of these entities in this project, and some others."""
    ends = (re.sub(rb"([*?\[\]\\])", rb"\\\1", end) for end in (place.prefix, place.project))
    return b"*".join(ends)


def _is_entity(key: bytes, place: Place) -> bool:
    """Whether these bytes are one whole entity key, not a mark or a key of another project."""
    try:
        found = deserialize_entity_key(key, place.key_version)
    except ValueError:
        return False
    return sorted(found.join_keys) == sorted(place.join_keys)
