"""The ranker that serves: the champion from the registry, or the plain rule while there is none."""

import logging
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from feature_repo.names import (
    BASE_MARGIN,
    BASE_MARGIN_TAG,
    CHAMPION,
    RANKER_MODEL,
    RULE_NAME,
    RULE_VERSION,
)
from feature_repo.transforms.request import RANKER_INPUTS
from serving.errors import ModelError
from serving.policy import own_purchases_scores, rule_margin

log = logging.getLogger(__name__)

GATE_TAG = "gate"
GATE_PASSED = "passed"


class Ranker(Protocol):
    """Scores candidates; a higher score is a better one."""

    name: str
    version: str

    def score(self, inputs: np.ndarray) -> np.ndarray:
        """Scores of shape ``(n,)`` for float32 inputs of shape ``(n, len(RANKER_INPUTS))``."""


class Registry(Protocol):
    """Where champions come from."""

    def champion_version(self) -> str | None:
        """The version that the alias champion names, or None. Raises ModelError."""

    def load(self, version: str) -> Ranker:
        """The checked and warmed ranker of a version. Raises ModelError."""


@dataclass(frozen=True)
class RuleRanker:
    """Own past purchases of the covered products, ties by popularity."""

    name: str = RULE_NAME
    version: str = RULE_VERSION

    def score(self, inputs: np.ndarray) -> np.ndarray:
        return own_purchases_scores(inputs)


@dataclass(frozen=True)
class ChampionRanker:
    """A boosted ranker: the rule's margin and what the trees add to it."""

    booster: Any
    version: str
    name: str = RANKER_MODEL

    def score(self, inputs: np.ndarray) -> np.ndarray:
        return self.booster.inplace_predict(inputs, base_margin=rule_margin(inputs))


class ModelSlot:
    """Holds the ranker in use and swaps in a new champion, whole and only if it is sound.

    ``problem`` is a sentence on why the newest champion does not serve, or None.
    """

    def __init__(self, registry: Registry, rule: Ranker | None = None) -> None:
        self._registry = registry
        self._rule = rule or RuleRanker()
        self._current: Ranker = self._rule
        self._refreshing = threading.Lock()
        self.problem: str | None = None

    @property
    def current(self) -> Ranker:
        return self._current

    @property
    def has_champion(self) -> bool:
        """Whether a model that a person promoted is in use, not the rule."""
        return self._current is not self._rule

    def refresh(self) -> None:
        """Look at the alias; serve what it names, or go on with what is there and say why.

        Without an alias the rule serves: taking it away is a person's decision too.
        """
        with self._refreshing:
            try:
                ranker = self._wanted()
            except ModelError as error:
                self._complain(str(error))
                return
            self.problem = None
            if ranker is not self._current:
                self._current = ranker
                log.info("ranking by %s %s from now on", ranker.name, ranker.version)

    def _wanted(self) -> Ranker:
        version = self._registry.champion_version()
        if version is None:
            return self._rule
        if self.has_champion and self._current.version == version:
            return self._current
        return self._registry.load(version)

    def _complain(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("still ranking by %s: %s", self._current.version, problem)
        self.problem = problem


class MlflowRegistry:
    """Champions in an MLflow model registry, logged in the native XGBoost flavor."""

    def __init__(self, tracking_uri: str, model: str = RANKER_MODEL) -> None:
        self._uri = tracking_uri
        self._model = model
        self._client: Any = None

    def champion_version(self) -> str | None:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            aliases = self._connected().get_registered_model(self._model).aliases
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise ModelError(f"The registry does not answer ({_first_line(error)}).") from error
        except (SQLAlchemyError, OSError) as error:
            raise ModelError(f"The registry does not answer ({_first_line(error)}).") from error
        version = aliases.get(CHAMPION)
        return None if version is None else str(version)

    def load(self, version: str) -> Ranker:
        from mlflow.exceptions import MlflowException
        from xgboost.core import XGBoostError

        try:
            self._require_tags(version)
            with tempfile.TemporaryDirectory() as folder:
                ranker = self._read(version, folder)
            return _warmed(ranker)
        except (MlflowException, XGBoostError, OSError, ValueError) as error:
            raise ModelError(
                f"{self._model} version {version} cannot be loaded ({_first_line(error)}); "
                "train it again with `clipwise train`."
            ) from error

    def _connected(self) -> Any:
        if self._client is None:
            from mlflow.tracking import MlflowClient

            self._client = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        return self._client

    def _require_tags(self, version: str) -> None:
        tags = self._connected().get_model_version(self._model, version).tags
        for tag, expected in ((GATE_TAG, GATE_PASSED), (BASE_MARGIN_TAG, BASE_MARGIN)):
            if tags.get(tag) != expected:
                raise ModelError(
                    f"{self._model} version {version} has the tag {tag}={tags.get(tag)}, expected "
                    f"{expected}; promote a version that `clipwise train` made and that passed."
                )

    def _read(self, version: str, folder: str) -> ChampionRanker:
        import mlflow.artifacts
        import mlflow.xgboost
        from mlflow.models import Model

        # A models:/ address would be looked up in the process-wide registry, not in this one.
        place = self._client.get_model_version_download_uri(self._model, version)
        path = mlflow.artifacts.download_artifacts(
            artifact_uri=place, dst_path=folder, tracking_uri=self._uri, registry_uri=self._uri
        )
        signature = Model.load(path).signature
        require_inputs(version, signature and signature.inputs.input_names())
        booster = mlflow.xgboost.load_model(path)
        booster.set_param({"nthread": 1})
        return ChampionRanker(booster, version)


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


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
