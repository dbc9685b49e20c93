"""Stored features of one entity: kept as bytes, decoded when they are read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Decode = Callable[[Any], Any]
Fields = Mapping[str, tuple[int, Decode]]
"""Position of each feature among the stored values, and the function that decodes it."""

_CACHED_BYTES = 64
"""Longest stored value whose decoded list is cached."""


class Entity(Mapping[str, Any]):
    """Features of an entity by name: None for a missing one, an array for a list of numbers.

    ``stored`` has the bytes read from the store, None for each missing value. A short list is
    decoded once. A long list or a single value is decoded at each access: callers derive something
    smaller from it, and many entities are cached at a time.
    """

    __slots__ = ("_fields", "_stored", "_values", "__weakref__")

    def __init__(self, fields: Fields, stored: Sequence[Any]) -> None:
        self._fields = fields
        self._stored = stored
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        place, decode = self._fields[name]
        data = self._stored[place]
        if not data:
            return None
        value = decode(data)
        if isinstance(value, list | np.ndarray) and len(data) <= _CACHED_BYTES:
            self._values[name] = value
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def is_unknown(self) -> bool:
        """True if the store has no feature of this entity."""
        return not any(self._stored)

    def has_same_bytes(self, other: object) -> bool:
        """True if the same bytes were read for the same features of the other entity."""
        return (
            isinstance(other, Entity)
            and self._fields is other._fields
            and self._stored == other._stored
        )
