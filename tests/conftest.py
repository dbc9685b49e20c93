"""What every tier shares: warnings of libraries that nobody here can act on."""

import os

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


@pytest.fixture(autouse=True, scope="module")
def no_registry_left_in_the_environment():
    """MLflow keeps the store it was pointed at in a variable; the next file has one of its own."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before
