"""The rows of one view in Redis: written, removed and marked by compare-and-set scripts."""

import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from feast.feature_view import FeatureView
from feast.infra.key_encoding_utils import deserialize_entity_key
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.repo_config import RepoConfig

from feature_repo.feast_internals import redis_key_prefix
from feature_repo.instants import microseconds
from feature_repo.online.format.encoding import encode_instants
from feature_repo.online.format.progress_mark import ProgressMark, superseded
from feature_repo.online.format.rows import OnlineRows
from feature_repo.online.format.wire_format import Block
from feature_repo.online.redis.calls import call_script
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
class RedisView:
    """The rows of a view in Redis: a client, and the parts of the keys' and fields' names.

    ``expire`` is the lifetime of a key in seconds; None if keys never expire.
    """

    client: Any
    project: bytes
    view: str
    features: tuple[str, ...]
    join_keys: tuple[str, ...]
    expire: int | None
    key_version: int

    @classmethod
    def of(cls, client: Any, config: RepoConfig, view: FeatureView) -> "RedisView":
        """Names a view's rows as Feast does."""
        is_versioned = config.registry.enable_online_feature_view_versioning
        return cls(
            client,
            config.project.encode(),
            compute_versioned_name(view, is_versioned),
            tuple(feature.name for feature in view.features),
            tuple(view.join_keys),
            config.online_store.key_ttl_seconds,
            config.entity_key_serialization_version,
        )

    @property
    def prefix(self) -> bytes:
        """First bytes of the keys of these entities."""
        return redis_key_prefix(self.join_keys)

    @property
    def mark_key(self) -> bytes:
        """Key of the mark: no entity has it, and Feast removes it together with the view's rows."""
        return self.prefix + f"materialized:{self.view}:".encode() + self.project

    def write(self, rows: OnlineRows, bound: datetime | None) -> int:
        """Writes rows, each unless a newer one is stored; returns the number written.

        A stored row of an event before ``bound`` is replaced in any case.
        """
        limit = Block.of(_NO_BOUND if bound is None else _encoded(bound), len(rows))
        script = write_script(self.view, tuple(rows.values), self.expire)
        keys = [key + self.project for key in rows.keys]
        events = encode_instants(rows.event)
        values = rows.values.values()
        return call_script(self.client, script, keys, events, _created(rows), limit, *values)

    def remove(self, keys: Sequence[bytes], bound: datetime) -> int:
        """Removes rows of these entity keys of events before ``bound``; returns their number."""
        if not keys:
            return 0
        script = remove_script(self.view, self.features)
        own = [key + self.project for key in keys]
        return call_script(self.client, script, own, Block.of(_encoded(bound), len(own)))

    def stray_keys(self, keep: AbstractSet[bytes]) -> Iterator[bytes]:
        """Yields the entity keys in Redis that are not to be kept."""
        for found in self.client.scan_iter(self._pattern(), count=1000):
            key = found.removesuffix(self.project)
            if key not in keep and self._is_entity(key):
                yield key

    def drop_created(self) -> None:
        """Removes our own field from every row of the view."""
        with self.client.pipeline(transaction=False) as pipeline:
            for key in self.client.scan_iter(self._pattern(), count=1000):
                pipeline.hdel(key, created_field(self.view))
            pipeline.execute()

    def read_mark(self) -> ProgressMark | None:
        """Reads the view's progress mark; None if there is none or if rows expire."""
        # Redis expires rows without changing the mark, so the mark would be wrong.
        text = None if self.expire else self.client.hget(self.mark_key, "mark")
        return ProgressMark.from_json(text.decode()) if text else None

    def begin_run(self, mark: ProgressMark, stored: ProgressMark | None) -> bool:
        """Replaces the stored mark by a new run's; false if another run has changed it."""
        expected = "*" if self.expire else stored.to_json() if stored else ""
        arguments = timestamp_field(self.view), mark.run, mark.to_json(), expected
        return bool(self.client.eval(TAKE, 1, self.mark_key, *arguments))

    @contextmanager
    def advancing(self, mark: ProgressMark | None) -> Iterator["RedisView"]:
        """Stores a run's mark after the writes of the block.

        Raises MaterializationRefused before or after the block if another run took over.
        """
        if mark is None:
            yield self
            return
        if self.client.hget(self.mark_key, "run") != mark.run.encode():
            raise superseded(self.view)
        yield self
        if not self.client.eval(ADVANCE, 1, self.mark_key, mark.run, mark.to_json()):
            raise superseded(self.view)

    def _pattern(self) -> bytes:
        """Returns a pattern for every key of these entities in this project; it may match more."""
        ends = (re.sub(rb"([*?\[\]\\])", rb"\\\1", end) for end in (self.prefix, self.project))
        return b"*".join(ends)

    def _is_entity(self, key: bytes) -> bool:
        """True for one whole entity key; false for a mark or a key of another project."""
        try:
            found = deserialize_entity_key(key, self.key_version)
        except ValueError:
            return False
        return sorted(found.join_keys) == sorted(self.join_keys)


_EPOCH = b"\x08\x00"
"""1970 as a Timestamp with its zero written out. Protobuf leaves it out, which reads as unset."""


def _created(rows: OnlineRows) -> Sequence[bytes]:
    """Encodes the instants at which rows were learned; empty if that is the event's instant."""
    differs = rows.learned != rows.event
    if not differs.any():
        return Block.of(b"", len(rows))
    learned = zip(encode_instants(rows.learned), differs, strict=True)
    return [(encoded or _EPOCH) if own else b"" for encoded, own in learned]


def _encoded(bound: datetime) -> bytes:
    return encode_instants(np.array([microseconds(bound)]))[0]
