"""The answers of `/readyz` and `/v1/model`."""

from datetime import datetime

from feature_repo.names import PLACEMENTS, RANKERS, RankerNames
from serving.api.service import Service
from serving.errors import NotReady
from serving.models.rankers import Ranker
from serving.models.slot import ModelSlot
from serving.schemas.recommendation import ModelName
from serving.schemas.status import ChallengerState, ClockState, ModelState, RankerState, Readiness


def readiness(service: Service) -> Readiness:
    """Returns the parts that answers are made from. Raises NotReady if there is no index yet."""
    index = service.index.current
    if index is None:
        raise NotReady(
            "Expected coupons in the online store, but it is empty (run `clipwise materialize`) or "
            "cannot be read (the service's log states the reason)."
        )
    now = service.clock.now()
    return Readiness(
        ready=True,
        models={key: _model_name(slot.current) for key, slot in service.slots.items()},
        coupons=len(index),
        clock=ClockState(now=now, replay=service.clock.replay),
        online_watermark=service.freshness.watermark(),
        notes=(*_model_notes(service), *_state_notes(service, now)),
    )


def _model_notes(service: Service) -> list[str]:
    # One registry that does not answer is the same problem for every ranker.
    notes = [note for key, slot in service.slots.items() for note in _notes_of(RANKERS[key], slot)]
    return list(dict.fromkeys(notes))


def _notes_of(names: RankerNames, slot: ModelSlot) -> list[str]:
    notes = [] if slot.challenger_problem is None else [slot.challenger_problem]
    if slot.problem is not None:
        return [slot.problem, *notes]
    if not slot.has_champion:
        rule = slot.current.name
        return [f"{names.model} has no champion; the rule {rule} ranks.", *notes]
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
    return ModelState(
        rankers={key: _ranker_state(service, names) for key, names in RANKERS.items()},
        policies={one: service.policies.policy_for(one).summary() for one in PLACEMENTS},
    )


def _ranker_state(service: Service, names: RankerNames) -> RankerState:
    slot = service.slots[names.key]
    models, problem = slot.models, slot.problem
    return RankerState(
        name=models.champion.name,
        version=models.champion.version,
        is_champion=slot.has_champion,
        placements=names.placements,
        problem=problem,
        feature_service=names.service,
        previous=models.previous and _model_name(models.previous),
        challenger=_challenger(service, slot),
    )


def _challenger(service: Service, slot: ModelSlot) -> ChallengerState | None:
    if not service.experiment.has_challenger:
        return None
    challenger = slot.models.challenger
    return ChallengerState(
        model=challenger and _model_name(challenger),
        experiment=service.experiment.name,
        challenger_share=service.experiment.challenger_share,
        shadow_share=service.experiment.shadow_share,
        problem=slot.challenger_problem,
    )


def _model_name(ranker: Ranker) -> ModelName:
    return ModelName(name=ranker.name, version=ranker.version)
