"""Reproduce: train a registered version again from what it was made of, to the same bytes."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from prefect import flow

from flows.champion import registry, tracking
from flows.experiment_data import ExperimentData, experiment_data_of
from flows.runtime import git_commit, prepare_environment, report_progress, step
from training.models.ranker import RankerConfig, fit, model_bytes
from training.registry.records import Origin


@dataclass(frozen=True)
class Reproduced:
    """The SHA-256 of a version's model file, and of the one that comes out of training it again.

    ``changed`` has what was not the same as when the version was made, by name: then and now.
    """

    version: str
    expected: str
    found: str
    changed: Mapping[str, tuple[str, str]]

    @property
    def alike(self) -> bool:
        """Whether the two files are the same, byte for byte."""
        return self.expected == self.found


@flow(name="reproduce", persist_result=False)
def reproduce(version: str) -> Reproduced:
    """Train a version again on its lake version, split and seed, with the code of this checkout."""
    home = prepare_environment()
    origin = tracking(home).origin(version)
    trial = experiment_data_of(home, origin.lake_version, origin.test_start, origin.seed)
    return step(repeated)(home, version, origin, trial, RankerConfig(seed=origin.seed))


def repeated(
    home: Path, version: str, origin: Origin, trial: ExperimentData, config: RankerConfig
) -> Reproduced:
    """What training on the trial gives now, beside the version's model file."""
    expected = registry(home).read(version).sha256
    parts = [trial.train, trial.valid]
    model = fit(parts, config, lambda done, total: report_progress("train", done, total))
    found = hashlib.sha256(model_bytes(model)).hexdigest()
    return Reproduced(version, expected, found, _changed(origin, config))


def _changed(origin: Origin, config: RankerConfig) -> dict[str, tuple[str, str]]:
    then = {"commit": origin.git_commit or "none", **origin.settings}
    now = {"commit": git_commit() or "none"}
    now |= {name: str(value) for name, value in asdict(config).items()}
    return {
        name: (then.get(name, "none"), now.get(name, "none"))
        for name in sorted(then.keys() | now.keys())
        if then.get(name, "none") != now.get(name, "none")
    }
