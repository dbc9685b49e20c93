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


Id = Annotated[str, Field(min_length=1, max_length=256)]


def _text_only(value: object) -> object:
    if isinstance(value, str | datetime):
        return value
    raise ValueError("expected text such as 2017-12-31T00:00:00Z, not a number")


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("expected an instant that exists in UTC") from error


Instant = Annotated[AwareDatetime, BeforeValidator(_text_only), AfterValidator(_in_utc)]


def few_names(value: object) -> object:
    """Each name that is not known is an error to be told, and a body can hold 100,000 of them."""
    if isinstance(value, dict):
        check_names(value)
        lines = value.get("cart")
        if lines and isinstance(lines, list):
            for line in lines:
                check_names(line)
    return value


def check_names(value: object) -> None:
    if isinstance(value, dict) and len(value) > MAX_NAMES:
        raise ValueError(f"expected at most {MAX_NAMES} names in an object")


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def made_of(cls, values: dict[str, Any]) -> Self:
        """One of values that need no check, a value for every field; it keeps the dictionary.

        What ``model_construct`` does, without its look at aliases and defaults, which takes longer
        than all else in an answer.
        """
        made, put = cls.__new__(cls), object.__setattr__
        put(made, "__dict__", values)
        put(made, "__pydantic_fields_set__", set(values))
        put(made, "__pydantic_extra__", None)
        put(made, "__pydantic_private__", None)
        return made


class Problem(BaseModel):
    """An error as a problem document (RFC 9457).

    An invalid request has ``errors``: the ``location`` and ``message`` of each place.
    """

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[dict[str, str], ...] | None = None
