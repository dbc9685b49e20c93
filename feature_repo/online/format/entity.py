"""What is stored of one entity: bytes as they were read, values once somebody asks for them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Decode = Callable[[Any], Any]
Fields = Mapping[str, tuple[int, Decode]]
"""Where each feature stands among what was read, and what makes a value of it."""

_SHORT = 64
"""Bytes up to which the list that was made of them is kept."""


class Entity(Mapping[str, Any]):
    """The features of an entity by name: None for one that is not known, an array for numbers.

    ``stored`` has what was read, None where there is nothing. A short list is decoded once. A long
    one and a single value are decoded each time they are asked for, since whoever asks makes
    something smaller of them, and many entities are held at a time.
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
        if isinstance(value, list | np.ndarray) and len(data) <= _SHORT:
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
        """Whether nothing at all is stored."""
        return not any(self._stored)

    def is_as(self, other: object) -> bool:
        """Whether the very same was read for the other."""
        return (
            isinstance(other, Entity)
            and self._fields is other._fields
            and self._stored == other._stored
        )
