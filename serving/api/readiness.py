"""Builds the answers of `/readyz` and `/v1/model`."""

from datetime import datetime

from feature_repo.names import PLACEMENTS, RANKER_SERVICE
from serving.api.service import Service
from serving.errors import NotReady
from serving.models.rankers import Ranker
from serving.models.slot import ModelSlot
from serving.schemas.recommendation import ModelName
from serving.schemas.status import ChallengerState, ClockState, ModelState, Readiness


def readiness(service: Service) -> Readiness:
    """What the service would answer with now. Raises NotReady if it could not answer."""
    index = service.index.current
    if index is None:
        raise NotReady(
            "Nothing is in the online store yet (run `clipwise materialize`), or it cannot be read "
            "(the service's log says why)."
        )
    now, ranker = service.clock.now(), service.models.current
    return Readiness(
        ready=True,
        model=ModelName(name=ranker.name, version=ranker.version),
        coupons=len(index),
        clock=ClockState(now=now, replay=service.clock.replay),
        online_watermark=service.freshness.watermark(),
        notes=(*_model_notes(service.models), *_state_notes(service, now)),
    )


def _model_notes(models: ModelSlot) -> list[str]:
    notes = [] if models.challenger_problem is None else [models.challenger_problem]
    if models.problem is not None:
        return [models.problem, *notes]
    if not models.has_champion:
        return [f"There is no champion; ranking by the rule {models.current.name}.", *notes]
    return notes


def _state_notes(service: Service, now: datetime) -> list[str]:
    notes = []
    if service.online_is_down():
        notes.append(
            "The online store is in trouble and is asked only now and then; meanwhile users are as "
            "they were last read, or unknown."
        )
    if service.online_is_lost():
        notes.append(
            "The online store lost what was materialized; meanwhile users are as they were last "
            "read, or unknown. Run `clipwise materialize`."
        )
    stale = service.freshness.stale_features(now)
    if stale:
        notes.append(f"Stale features: {', '.join(stale)}; run `clipwise materialize`.")
    if service.decisions.dropped:
        notes.append(f"{service.decisions.dropped} decisions are missing from the log.")
    if service.decisions.problem is not None:
        notes.append(
            f"Decisions wait in memory, as they cannot be written ({service.decisions.problem}); "
            "make room on the disk."
        )
    if service.shadow is not None and service.shadow.skipped:
        notes.append(f"{service.shadow.skipped} requests were not ranked in shadow.")
    return notes


def model_state(service: Service) -> ModelState:
    """The rankers in use, and why the newest champion or challenger is not among them."""
    models, problem = service.models.models, service.models.problem
    return ModelState(
        name=models.champion.name,
        version=models.champion.version,
        is_champion=service.models.has_champion,
        problem=problem,
        feature_service=RANKER_SERVICE,
        previous=_name(models.previous),
        challenger=_challenger(service),
        policies={one: service.policies.policy_for(one).summary() for one in PLACEMENTS},
    )


def _challenger(service: Service) -> ChallengerState | None:
    if not service.experiment.has_challenger:
        return None
    return ChallengerState(
        model=_name(service.models.models.challenger),
        experiment=service.experiment.name,
        challenger_share=service.experiment.challenger_share,
        shadow_share=service.experiment.shadow_share,
        problem=service.models.challenger_problem,
    )


def _name(ranker: Ranker | None) -> ModelName | None:
    return None if ranker is None else ModelName(name=ranker.name, version=ranker.version)
