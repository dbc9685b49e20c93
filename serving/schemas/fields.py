"""Field types and base models of every schema."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

MAX_NAMES = 32
"""Most names in one JSON object of a request."""

Id = Annotated[str, Field(min_length=1, max_length=256)]


def _require_text(value: object) -> object:
    if isinstance(value, str | datetime):
        return value
    raise ValueError("expected text such as 2017-12-31T00:00:00Z, not a number")


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("expected an instant that exists in UTC") from error


Instant = Annotated[AwareDatetime, BeforeValidator(_require_text), AfterValidator(_in_utc)]


def limit_names(value: object) -> object:
    """Refuses a request, or a line of its cart, with more than MAX_NAMES names.

    Every unknown name would be an error in the answer, and a body can hold 100,000 of them. Raises
    ValueError.
    """
    if isinstance(value, dict):
        _check_name_count(value)
        lines = value.get("cart")
        if lines and isinstance(lines, list):
            for line in lines:
                _check_name_count(line)
    return value


def _check_name_count(value: object) -> None:
    if isinstance(value, dict) and len(value) > MAX_NAMES:
        raise ValueError(f"expected at most {MAX_NAMES} names in an object, got {len(value)}")


class ContractModel(BaseModel):
    """Base of all models of the contract: frozen, and without unknown or infinite values."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def construct_unchecked(cls, values: dict[str, Any]) -> Self:
        """Returns a model of valid values, one for each field; it keeps the dictionary.

        Like pydantic's ``model_construct``, but it skips aliases and defaults. Those take longer
        than the rest of an answer.
        """
        model, put = cls.__new__(cls), object.__setattr__
        put(model, "__dict__", values)
        put(model, "__pydantic_fields_set__", set(values))
        put(model, "__pydantic_extra__", None)
        put(model, "__pydantic_private__", None)
        return model


class Problem(BaseModel):
    """A problem document (RFC 9457), the body of every error answer.

    For an invalid request, ``errors`` lists the ``location`` and ``message`` of each wrong place.
    """

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[dict[str, str], ...] | None = None
