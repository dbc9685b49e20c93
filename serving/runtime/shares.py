"""Stable shares of users or requests, by hash: holdout, experiment, shadow."""

from hashlib import blake2b


def share_of(name: str, key: str = "", purpose: bytes = b"") -> float:
    """Returns a number in [0, 1), uniform over names and fixed for a name, key and purpose.

    A name is in a share of 0.05 if the number is below 0.05, so a larger share keeps all names of
    a smaller one. Two purposes are independent. The number is the upper 53 bits of BLAKE2b with an
    8-byte digest; at most 64 bytes of ``key`` and 16 of ``purpose`` count.

    >>> share_of("user-1", purpose=b"example") == share_of("user-1", purpose=b"example")
    True
    >>> sum(share_of(f"user-{number}") < 0.25 for number in range(10_000)) / 10_000
    0.2538
    """
    digest = blake2b(name.encode(), digest_size=8, key=key.encode()[:64], person=purpose).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
