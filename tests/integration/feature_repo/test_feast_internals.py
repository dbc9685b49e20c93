"""Feast's private names: each is still there with the same parameters, else its name is shown."""

import inspect
from importlib import import_module

import pytest

from tests.support.feature_logs import feast_store

# Feast warns while it is imported; its warnings are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

PARAMETERS = {
    "feast.infra.offline_stores.duckdb._write_data_source": (
        "table data_source repo_path mode allow_overwrite"
    ),
    "feast.infra.online_stores.helpers._mmh3": "key",
    "feast.infra.online_stores.helpers._redis_key_prefix": "entity_keys",
    "feast.infra.online_stores.redis.RedisOnlineStore._get_client": "self online_store_config",
    "feast.infra.online_stores.redis.RedisOnlineStore._get_client_async": (
        "self online_store_config"
    ),
    "feast.infra.online_stores.redis.RedisOnlineStore._parse_connection_string": (
        "connection_string"
    ),
    "feast.infra.online_stores.sqlite.SqliteOnlineStore._check_table_has_value_num": (
        "self conn table_name"
    ),
    "feast.utils._get_column_names": "feature_view entities",
    "feast.utils._get_feature_view_vector_field_metadata": "feature_view",
    "feast.utils._validate_vector_field_lengths": "table feature_view",
}
"""Parameters of each private function of Feast, as our calls expect them."""

ATTRIBUTES = {"feast.infra.registry.registry.Registry._registry_store"}
"""Attributes of instances, which a class does not show."""


def internals():
    from feature_repo import feast_internals

    return feast_internals


def our_classes() -> list[type]:
    """Our subclasses of Feast's classes."""
    from feature_repo import feast_registry, materialization, online_store, point_in_time
    from feature_repo.offline.retrieval_job import PointInTimeJob

    return [
        PointInTimeJob,
        materialization.IncrementalComputeEngine,
        online_store.GuardedRedisOnlineStore,
        online_store.GuardedSqliteOnlineStore,
        point_in_time.PointInTimeOfflineStore,
        feast_registry.HomeRegistryStore,
    ]


def found(name: str):
    """The object of a dotted name, or None if Feast no longer has it."""
    parts = name.split(".")
    at = next(place for place, part in enumerate(parts) if part[0] == "_" or part[0].isupper())
    try:
        thing = import_module(".".join(parts[:at]))
    except ModuleNotFoundError:
        return None
    for part in parts[at:]:
        thing = getattr(thing, part, None)
    return thing


def parameters(function) -> list[tuple[str, object]]:
    return [(one.name, one.kind) for one in inspect.signature(function).parameters.values()]


def test_every_private_name_has_a_reason_and_a_check():
    used = internals().USED
    assert set(used) == PARAMETERS.keys() | ATTRIBUTES
    assert all(reason for reason in (internals().USED | internals().OVERRIDDEN).values())


@pytest.mark.parametrize("name", PARAMETERS)
def test_feast_has_the_private_function_with_the_same_parameters(name):
    function = found(name)
    assert function is not None, f"Feast no longer has {name}"
    names = [one for one, _kind in parameters(function)]
    assert names == PARAMETERS[name].split(), f"{name} has other parameters"


def test_registry_of_a_store_has_the_private_attribute(tmp_path):
    from feature_repo.feast_registry import HomeRegistryStore

    file = internals().registry_file(feast_store(tmp_path))
    assert isinstance(file, HomeRegistryStore), f"Feast moved {ATTRIBUTES}"


def test_each_overridden_method_is_in_feast_with_the_same_parameters():
    moved = []
    for name in internals().OVERRIDDEN:
        owner, method = name.rsplit(".", 1)
        theirs, base = found(name), found(owner)
        ours = [one for one in our_classes() if base and issubclass(one, base)]
        if theirs is None or not ours:
            moved.append(f"Feast no longer has {name}")
            continue
        moved += [
            f"{one.__name__}.{method} differs from {name}"
            for one in ours
            if getattr(one, method) is theirs
            or parameters(getattr(one, method)) != parameters(theirs)
        ]
    assert not moved, "\n".join(moved)


def test_every_overridden_private_method_is_listed():
    listed = {name.rsplit(".", 1)[1] for name in internals().OVERRIDDEN}
    overridden = set()
    for one in our_classes():
        lineage = one.__mro__
        own = [kind for kind in lineage if kind.__module__.startswith("feature_repo")]
        theirs = [kind for kind in lineage if kind.__module__.startswith("feast.")]
        overridden |= {
            name
            for kind in own
            for name in vars(kind)
            if name.startswith("_")
            and not name.startswith("__")
            and callable(getattr(kind, name))
            and any(name in vars(base) for base in theirs)
        }
    assert overridden == listed
