"""What every tier shares: warnings of libraries that nobody here can act on."""

import pytest

# Raised inside Feast, Ibis, MLflow and Great Expectations, not by our use of them.
FOREIGN = (
    "ignore::DeprecationWarning",
    "ignore::PendingDeprecationWarning",
    "ignore::FutureWarning",
    "ignore::ResourceWarning",
    "ignore::UserWarning",
)


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/unit" not in item.path.as_posix():
            for warning in FOREIGN:
                item.add_marker(pytest.mark.filterwarnings(warning))
