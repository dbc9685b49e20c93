"""Fixtures of the online stores, which several files share."""

import pytest

from tests.support.online_stores import redis_server


@pytest.fixture(scope="session")
def redis_address():
    """The address of one Redis for all tests; each test has keys of its own or empties it."""
    with redis_server() as address:
        yield address


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def kind(request):
    """The kind of the online store: each test runs once with each."""
    return request.param
