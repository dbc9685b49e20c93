"""The answers of `/readyz` and `/v1/model`."""

from datetime import datetime

from feature_repo.names import PLACEMENTS, RANKER_SERVICE
from serving.api.service import Service
from serving.errors import NotReady
from serving.models.rankers import Ranker
from serving.models.slot import ModelSlot
from serving.schemas.recommendation import ModelName
from serving.schemas.status import ChallengerState, ClockState, ModelState, Readiness


def readiness(service: Service) -> Readiness:
    """Returns the parts that answers are made from. Raises NotReady if there is no index yet."""
    index = service.index.current
    if index is None:
        raise NotReady(
            "Expected coupons in the online store, but it is empty (run `clipwise materialize`) or "
            "cannot be read (the service's log states the reason)."
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
        return [f"There is no champion; the rule {models.current.name} ranks.", *notes]
    return notes


def _state_notes(service: Service, now: datetime) -> list[str]:
    notes = []
    if service.online_is_down():
        notes.append(
            "The circuit breaker of the online store is open, because reads fail; meanwhile users "
            "have the features last read, or count as unknown."
        )
    if service.online_is_lost():
        notes.append(
            "The online store lost its features; meanwhile users have the features last read, or "
            "count as unknown. Run `clipwise materialize`."
        )
    stale = service.freshness.stale_features(now)
    if stale:
        notes.append(f"Stale features: {', '.join(stale)}; run `clipwise materialize`.")
    if service.decisions.dropped:
        notes.append(f"{service.decisions.dropped} decisions are missing from the log.")
    if service.decisions.problem is not None:
        notes.append(
            f"Decisions wait in memory because they cannot be written "
            f"({service.decisions.problem}); free space on the disk."
        )
    if service.shadow is not None and service.shadow.skipped:
        notes.append(f"The challenger did not rank {service.shadow.skipped} requests in shadow.")
    return notes


def model_state(service: Service) -> ModelState:
    """Returns the rankers in use, and why the newest champion or challenger is not among them."""
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
