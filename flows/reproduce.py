"""Reproduce: trains a registered version again from its lineage and compares the model bytes."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from prefect import flow

from feature_repo.names import RANKERS, RankerKey, RankerNames
from flows.champion import registry, tracking
from flows.experiment_data import ExperimentData, load_experiment_data
from flows.runtime import as_task, git_commit, prepare_environment, report_progress
from training.models.probability import fit_with_probabilities
from training.models.ranker import RankerConfig, model_bytes
from training.registry.records import Origin
from training.registry.run_reader import read_origin


@dataclass(frozen=True)
class Reproduced:
    """The SHA-256 of a version's model file (``expected``) and of the retrained one (``found``).

    ``changed`` maps the commit or a setting that changed since the training to its values: then and
    now.
    """

    model: str
    version: str
    expected: str
    found: str
    changed: Mapping[str, tuple[str, str]]

    @property
    def is_same(self) -> bool:
        """True if both model files are the same, byte for byte."""
        return self.expected == self.found


@flow(name="reproduce", persist_result=False)
def reproduce(ranker: RankerKey, version: str) -> Reproduced:
    """Trains a version again on its lake version, split and seed, with the code in use."""
    home, names = prepare_environment(), RANKERS[ranker]
    origin = read_origin(tracking(home, names), version)
    (data,) = load_experiment_data(
        home, (names,), origin.lake_version, origin.test_start, origin.seed
    )
    config = RankerConfig(ranker=ranker, seed=origin.seed)
    return as_task(train_again)(home, names, version, origin, data, config)


def train_again(
    home: Path,
    names: RankerNames,
    version: str,
    origin: Origin,
    data: ExperimentData,
    config: RankerConfig,
) -> Reproduced:
    """Trains on the data and compares the result with the version's model file."""
    expected = registry(home, names).read(version).sha256
    model = fit_with_probabilities(
        data.train,
        data.valid,
        config,
        lambda done, total: report_progress("train", done, total),
    )
    found = hashlib.sha256(model_bytes(model)).hexdigest()
    return Reproduced(names.model, version, expected, found, _changed(origin, config))


def _changed(origin: Origin, config: RankerConfig) -> dict[str, tuple[str, str]]:
    then = {"commit": origin.git_commit or "none", **origin.settings}
    now = {"commit": git_commit() or "none"}
    now |= {name: str(value) for name, value in asdict(config).items()}
    return {
        name: (then.get(name, "none"), now.get(name, "none"))
        for name in sorted(then.keys() | now.keys())
        if then.get(name, "none") != now.get(name, "none")
    }
