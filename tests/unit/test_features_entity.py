"""An entity as it was read: bytes become values once somebody asks for them."""

from feature_repo.online.entity import Entity


def counted(calls: list):
    def decode(data: bytes) -> str:
        calls.append(data)
        return data.decode()

    return decode


def entity(stored: list, calls: list | None = None) -> Entity:
    decode = counted([] if calls is None else calls)
    return Entity({"name": (0, decode), "city": (1, decode)}, stored)


def test_values_are_decoded_when_they_are_asked_for_and_short_ones_once():
    calls: list[bytes] = []
    one = entity([b"Ann", b"x" * 1_000], calls)
    assert calls == []
    assert [one["name"], one["name"], len(one["city"]), len(one["city"])] == [
        "Ann",
        "Ann",
        1000,
        1000,
    ]
    assert calls == [b"Ann", b"x" * 1_000, b"x" * 1_000]


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
