from hashlib import blake2b

from serving.runtime.shares import share_of

NAMES = [f"user-{number}" for number in range(1_000)]


def test_share_of_a_name_never_changes_as_users_would_change_sides():
    for name in NAMES:
        digest = blake2b(name.encode(), digest_size=8).digest()
        assert (share_of(name) < 0.3) == (int.from_bytes(digest, "big") < 0.3 * 2**64)
        keyed = blake2b(name.encode(), digest_size=8, key=b"spring", person=b"experiment").digest()
        assert (
            share_of(name, "spring", b"experiment") == (int.from_bytes(keyed, "big") >> 11) / 2**53
        )


def test_key_of_any_length_is_accepted():
    assert share_of("user-1", "k" * 64) == share_of("user-1", "k" * 100)
