"""A stored entity: bytes are decoded when a feature is read."""

import numpy as np
import pytest

from feature_repo.online.format.entity import Entity


def entity(stored: list) -> Entity:
    return Entity({"name": (0, bytes.decode), "city": (1, bytes.decode)}, stored)


@pytest.mark.parametrize("listed", [str.split, lambda text: np.array(text.split())])
def test_values_are_decoded_at_each_access_and_short_lists_once(listed):
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


def test_missing_or_empty_value_is_none_and_entity_without_any_value_is_unknown():
    assert dict(entity([None, b""])) == {"name": None, "city": None}
    assert entity([None, b""]).is_unknown and not entity([None, b"Rome"]).is_unknown


def test_entities_have_same_bytes_only_for_the_same_features():
    fields = {"name": (0, bytes.decode)}
    one = Entity(fields, [b"Ann"])
    assert one.has_same_bytes(Entity(fields, [b"Ann"]))
    assert not one.has_same_bytes(Entity(fields, [b"Bob"]))
    assert not one.has_same_bytes(Entity(dict(fields), [b"Ann"]))
    assert not one.has_same_bytes({"name": "Ann"}) and one != Entity(fields, [b"Ann"])
