"""An entity as it was read: bytes become values once somebody asks for them."""

import numpy as np
import pytest

from feature_repo.online.format.entity import Entity


def entity(stored: list) -> Entity:
    return Entity({"name": (0, bytes.decode), "city": (1, bytes.decode)}, stored)


@pytest.mark.parametrize("listed", [str.split, lambda text: np.array(text.split())])
def test_values_are_decoded_when_they_are_asked_for_and_short_lists_once(listed):
    calls: list[bytes] = []

    def decode(data: bytes):
        calls.append(data)
        return listed(data.decode()) if b" " in data else data.decode()

    fields = {name: (place, decode) for place, name in enumerate(("name", "short", "long"))}
    one = Entity(fields, [b"Ann", b"a b", b"x " * 1_000])
    assert calls == []
    for _ in range(2):
        assert (one["name"], list(one["short"]), len(one["long"])) == ("Ann", ["a", "b"], 1_000)
    assert calls == [b"Ann", b"a b", b"x " * 1_000, b"Ann", b"x " * 1_000]


def test_what_is_not_stored_or_empty_is_none_and_somebody_without_anything_is_unknown():
    assert dict(entity([None, b""])) == {"name": None, "city": None}
    assert entity([None, b""]).is_unknown and not entity([None, b"Rome"]).is_unknown


def test_entities_are_alike_if_the_very_same_bytes_were_read_of_the_same_features():
    fields = {"name": (0, bytes.decode)}
    one = Entity(fields, [b"Ann"])
    assert one.is_as(Entity(fields, [b"Ann"]))
    assert not one.is_as(Entity(fields, [b"Bob"]))
    assert not one.is_as(Entity(dict(fields), [b"Ann"]))
    assert not one.is_as({"name": "Ann"}) and one != Entity(fields, [b"Ann"])
