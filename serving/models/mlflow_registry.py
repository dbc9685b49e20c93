"""Champions and challengers in an MLflow model registry, logged in the native XGBoost flavor."""

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from feature_repo.names import (
    CHAMPION,
    FORCED_FILE,
    GATE_FILE,
    GOLDEN_FILE,
    RANKER_MODEL,
    REASON_TAG,
    copy_name,
)
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from serving.errors import ModelError
from serving.models.golden_rows import read_golden, require_golden
from serving.models.rankers import ChampionRanker, Ranker
from serving.models.registered_version import Registered, require_servable, require_service

log = logging.getLogger(__name__)

Read = TypeVar("Read")


class MlflowRegistry:
    """The registry behind a tracking URI, as far as serving reads it."""

    def __init__(self, tracking_uri: str, model: str = RANKER_MODEL) -> None:
        self._uri = tracking_uri
        self._model = model
        self._client: Any = None

    def aliases(self) -> dict[str, str]:
        """The version that each alias names; none without a model. Raises ModelError."""
        from mlflow.exceptions import MlflowException

        if self._is_not_there():
            return {}
        with self._answering():
            try:
                aliases = self._connected().get_registered_model(self._model).aliases
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}
                raise
        return {alias: str(version) for alias, version in aliases.items()}

    def champion_version(self) -> str | None:
        """The version that the alias champion names, or None. Raises ModelError."""
        return self.aliases().get(CHAMPION)

    def promotion_reason(self, version: str) -> str | None:
        """The version's tag promotion_reason, or None. Raises ModelError."""
        with self._answering():
            tags = self._connected().get_model_version(self._model, version).tags
        return tags.get(REASON_TAG)

    def load(self, version: str) -> Ranker:
        """The ranker of a version that may serve, checked and warmed. Raises ModelError."""
        registered = self.read(version)
        require_servable(registered)
        return sound_ranker_of(registered)

    def read(self, version: str) -> Registered:
        """A version as it is now, whether or not it may serve. Raises ModelError."""
        try:
            with tempfile.TemporaryDirectory() as folder:
                return self._read(version, Path(folder))
        except Exception as error:
            # Whatever a broken file makes of its reader, of YAML, JSON or Parquet, or an artifact
            # store of its client: it is told like any other model that cannot be had.
            raise _unloadable(version, error) from error

    @contextmanager
    def _answering(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise ModelError(f"The registry does not answer ({_first_line(error)}).") from error

    def _is_not_there(self) -> bool:
        """Whether the registry is a file that nobody made yet; a look into it would make it."""
        path = self._uri.removeprefix("sqlite:///")
        return path != self._uri and not Path(path).exists()

    def _connected(self) -> Any:
        if self._client is None:
            from mlflow.tracking import MlflowClient

            self._client = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        return self._client

    def _read(self, version: str, folder: Path) -> Registered:
        from mlflow.models import Model

        found = self._connected().get_model_version(self._model, version)
        # A models:/ address would be looked up in the process-wide registry, not in this one.
        place = self._client.get_model_version_download_uri(self._model, version)
        path = self._download(folder, artifact_uri=place)
        described = Model.load(str(path))
        signature = described.signature
        return Registered(
            version=version,
            tags=found.tags,
            model=(path / described.flavors["xgboost"]["data"]).read_bytes(),
            inputs=tuple(signature.inputs.input_names() if signature else ()),
            gate=self._own_artifact(version, found.run_id, GATE_FILE, folder),
            forced=self._own_artifact(version, found.run_id, FORCED_FILE, folder),
            golden=self._artifact(found.run_id, GOLDEN_FILE, folder, read_golden),
        )

    def _own_artifact(
        self, version: str, run_id: str | None, file: str, folder: Path
    ) -> dict | None:
        """The version's own file, where its run made another version first, else the run's."""
        own = self._artifact(run_id, copy_name(file, version), folder, _json)
        return self._artifact(run_id, file, folder, _json) if own is None else own

    def _artifact(
        self, run_id: str | None, file: str, folder: Path, reading: Callable[[Path], Read]
    ) -> Read | None:
        """What a file of the run holds, or None if there is no such file."""
        if not run_id or file not in {one.path for one in self._client.list_artifacts(run_id)}:
            return None
        return reading(self._download(folder, run_id=run_id, artifact_path=file))

    def _download(self, folder: Path, **what: str) -> Path:
        import mlflow.artifacts

        return Path(
            mlflow.artifacts.download_artifacts(
                **what, dst_path=str(folder), tracking_uri=self._uri, registry_uri=self._uri
            )
        )


def _json(file: Path) -> dict:
    found = json.loads(file.read_text())
    if not isinstance(found, dict):
        raise ValueError(f"expected one JSON object in {file.name}")
    return found


def sound_ranker_of(registered: Registered) -> ChampionRanker:
    """The ranker in a version's model file, warmed, if it scores as in training.

    Raises ModelError.
    """
    ranker = ranker_of(registered)
    require_golden(ranker, registered.golden)
    return ranker


def ranker_of(registered: Registered) -> ChampionRanker:
    """The ranker in a version's model file, warmed. Raises ModelError.

    It is read from the very bytes that the SHA-256 is of.
    """
    import xgboost

    require_service(registered)
    require_inputs(registered.version, registered.inputs)
    booster = xgboost.Booster()
    try:
        # Through a file: from memory XGBoost crashes the process on bytes that are no model.
        with tempfile.NamedTemporaryFile(suffix=".ubj") as file:
            file.write(registered.model)
            file.flush()
            booster.load_model(file.name)
        booster.set_param({"nthread": 1})
        return _warmed(ChampionRanker(booster, registered.version))
    except (xgboost.core.XGBoostError, ValueError) as error:
        # The second is that of trees which read another number of inputs than the signature says.
        raise _unloadable(registered.version, error) from error


def require_inputs(version: str, columns: Sequence[str] | None) -> None:
    """Refuse a model whose signature is not, in order, the inputs that serving computes.

    Raises ModelError that names the first difference.
    """
    columns = list(columns or ())
    if columns == list(RANKER_INPUTS):
        return
    pairs = zip([*columns, None], [*RANKER_INPUTS, None], strict=False)
    position, (came, expected) = next(
        (place, pair) for place, pair in enumerate(pairs) if pair[0] != pair[1]
    )
    raise ModelError(
        f"{RANKER_MODEL} version {version} reads {came} as input {position}, expected {expected} "
        f"({len(columns)} inputs came, {len(RANKER_INPUTS)} are computed); train it again."
    )


def _warmed(ranker: ChampionRanker) -> ChampionRanker:
    """Score two rows, an unknown user's and an all-zero one, so that the first request need not."""
    rows = np.zeros((2, len(RANKER_INPUTS)), dtype=np.float32)
    rows[0] = np.nan
    scores = ranker.score(rows)
    if scores.shape != (2,) or not np.isfinite(scores).all():
        raise ModelError(
            f"{ranker.name} version {ranker.version} gave {scores!r} for two plain rows, "
            "expected two finite scores; train it again."
        )
    return ranker


def _unloadable(version: str, error: Exception) -> ModelError:
    return ModelError(
        f"{RANKER_MODEL} version {version} cannot be loaded ({_first_line(error)}); train it again "
        "with `clipwise train`."
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
