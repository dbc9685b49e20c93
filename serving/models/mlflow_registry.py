"""Reads champions and challengers from an MLflow model registry (XGBoost flavor)."""

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from feature_repo.names import (
    CHAMPION,
    FORCED_FILE,
    GATE_FILE,
    GOLDEN_FILE,
    REASON_TAG,
    RankerNames,
    copy_name,
)
from feature_repo.transforms.request.ranker_inputs import INPUTS_OF, RANKER_INPUTS
from serving.errors import ModelError
from serving.models.golden_rows import read_golden_rows, require_golden_scores
from serving.models.rankers import ChampionRanker, Ranker
from serving.models.registered_version import (
    RegisteredVersion,
    require_servable,
    require_service,
)

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

log = logging.getLogger(__name__)

Content = TypeVar("Content")


class MlflowRegistry:
    """The versions of one ranker in the model registry at a tracking URI; reads only."""

    def __init__(self, tracking_uri: str, names: RankerNames) -> None:
        self._uri = tracking_uri
        self._names = names
        self._model = names.model
        self._connected: MlflowClient | None = None

    def aliases(self) -> dict[str, str]:
        """Returns the version of each alias; empty without a model. Raises ModelError."""
        from mlflow.exceptions import MlflowException

        if self._is_missing_file():
            return {}
        with _mlflow_errors_as_model_error():
            try:
                aliases = self._client().get_registered_model(self._model).aliases
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}
                raise
        return {alias: str(version) for alias, version in aliases.items()}

    def champion_version(self) -> str | None:
        """Returns the version of the alias champion, or None. Raises ModelError."""
        return self.aliases().get(CHAMPION)

    def promotion_reason(self, version: str) -> str | None:
        """Returns the version's tag promotion_reason, or None. Raises ModelError."""
        with _mlflow_errors_as_model_error():
            tags = self._client().get_model_version(self._model, version).tags
        return tags.get(REASON_TAG)

    def load(self, version: str) -> Ranker:
        """Returns the ranker of a servable version, checked and warmed. Raises ModelError."""
        registered = self.read(version)
        require_servable(registered)
        return load_checked_ranker(registered)

    def read(self, version: str) -> RegisteredVersion:
        """Reads a version and its artifacts, servable or not. Raises ModelError."""
        try:
            with tempfile.TemporaryDirectory() as folder:
                return self._read(version, Path(folder))
        except Exception as error:
            # A broken file or artifact store can raise almost any error of its reader (YAML, JSON,
            # Parquet) or client. Each means the same here: the version cannot be loaded.
            raise _load_error(f"{self._model} version {version}", error) from error

    def _is_missing_file(self) -> bool:
        """True if the registry is a SQLite file that does not exist; connecting would create it."""
        path = self._uri.removeprefix("sqlite:///")
        return path != self._uri and not Path(path).exists()

    def _client(self) -> "MlflowClient":
        if self._connected is None:
            from mlflow.tracking import MlflowClient

            self._connected = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        return self._connected

    def _read(self, version: str, folder: Path) -> RegisteredVersion:
        from mlflow.models import Model

        client = self._client()
        found = client.get_model_version(self._model, version)
        # MLflow would resolve a models:/ URI in the process-wide registry, not in this one.
        uri = client.get_model_version_download_uri(self._model, version)
        path = self._download(folder, artifact_uri=uri)
        described = Model.load(str(path))
        signature = described.signature
        return RegisteredVersion(
            names=self._names,
            version=version,
            tags=found.tags,
            model=(path / described.flavors["xgboost"]["data"]).read_bytes(),
            inputs=tuple(signature.inputs.input_names() if signature else ()),
            gate=self._own_artifact(version, found.run_id, GATE_FILE, folder),
            forced=self._own_artifact(version, found.run_id, FORCED_FILE, folder),
            golden=self._artifact(
                found.run_id, GOLDEN_FILE, folder, partial(read_golden_rows, self._names)
            ),
        )

    def _own_artifact(
        self, version: str, run_id: str | None, file: str, folder: Path
    ) -> Mapping[str, Any] | None:
        """Returns the file of this version, or the run's if the run has no copy for the version.

        A run that made several versions has one copy of the file for each later one.
        """
        own = self._artifact(run_id, copy_name(file, version), folder, _json)
        return self._artifact(run_id, file, folder, _json) if own is None else own

    def _artifact(
        self, run_id: str | None, file: str, folder: Path, read: Callable[[Path], Content]
    ) -> Content | None:
        """Returns the content of a file of the run, or None without such a file."""
        if not run_id or file not in {one.path for one in self._client().list_artifacts(run_id)}:
            return None
        return read(self._download(folder, run_id=run_id, artifact_path=file))

    def _download(self, folder: Path, **source: str) -> Path:
        import mlflow.artifacts

        return Path(
            mlflow.artifacts.download_artifacts(
                **source, dst_path=str(folder), tracking_uri=self._uri, registry_uri=self._uri
            )
        )


@contextmanager
def _mlflow_errors_as_model_error() -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise ModelError(f"The registry does not answer ({_first_line(error)}).") from error


def _json(file: Path) -> Mapping[str, Any]:
    found = json.loads(file.read_text())
    if not isinstance(found, dict):
        raise ValueError(f"expected one JSON object in {file.name}")
    return found


def load_checked_ranker(registered: RegisteredVersion) -> ChampionRanker:
    """Returns the warmed ranker of a version if it reproduces the golden rows.

    Raises ModelError.
    """
    ranker = load_ranker(registered)
    require_golden_scores(ranker, registered.golden)
    return ranker


def load_ranker(registered: RegisteredVersion) -> ChampionRanker:
    """Returns the warmed ranker of a version, from the bytes that its SHA-256 covers.

    Does not check the golden rows. Raises ModelError.
    """
    import xgboost

    require_service(registered)
    require_inputs(registered)
    booster = xgboost.Booster()
    try:
        # From a file: given invalid bytes in memory, XGBoost crashes the process.
        with tempfile.NamedTemporaryFile(suffix=".ubj") as file:
            file.write(registered.model)
            file.flush()
            booster.load_model(file.name)
        booster.set_param({"nthread": 1})
        return _warm_up(ChampionRanker(registered.names, booster, registered.version))
    except (xgboost.core.XGBoostError, ValueError) as error:
        # ValueError: the trees read another number of inputs than the signature states.
        raise _load_error(registered.title, error) from error


def require_inputs(registered: RegisteredVersion) -> RegisteredVersion:
    """Returns the version if its signature has the inputs of its ranker, in the same order.

    Raises ModelError that names the first difference.
    """
    columns, computed = registered.inputs, INPUTS_OF[registered.names.key]
    if columns == computed:
        return registered
    pairs = zip([*columns, None], [*computed, None], strict=False)
    position, (came, expected) = next(
        (place, pair) for place, pair in enumerate(pairs) if pair[0] != pair[1]
    )
    raise ModelError(
        f"{registered.title} reads {came} as input {position}, expected {expected} "
        f"({len(columns)} inputs came, {len(computed)} are computed); train it again."
    )


def _warm_up(ranker: ChampionRanker) -> ChampionRanker:
    """Scores a row of NaN and a row of zeros, so that lazy setup does not slow the first request.

    Raises ModelError if a score is not finite.
    """
    rows = np.zeros((2, len(RANKER_INPUTS)), dtype=np.float32)
    rows[0] = np.nan
    scores = ranker.score(rows)
    _require_calibration(ranker)
    if scores.shape != (2,) or not np.isfinite(scores).all():
        raise ModelError(
            f"{ranker.name} version {ranker.version} returned {scores!r} for two test rows, "
            "expected two finite scores; train it again."
        )
    return ranker


def _require_calibration(ranker: ChampionRanker) -> None:
    """Raises ModelError if the calibration in the model file cannot be read."""
    try:
        _ = ranker.calibration
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{ranker.name} version {ranker.version} has a calibration that cannot be read "
            f"({_first_line(error)}); train it again."
        ) from error


def _load_error(title: str, error: Exception) -> ModelError:
    return ModelError(
        f"{title} cannot be loaded ({_first_line(error)}); train it again with `clipwise train`."
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
