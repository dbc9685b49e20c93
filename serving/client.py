"""A client for shops that speak Python.

    with Client("http://127.0.0.1:8080", key="clipwise_...") as clipwise:
        answer = clipwise.recommend("900", "home", k=3)

ClientError
  Refused        the service said no: status, title, detail and errors are its problem document
  Unavailable    no answer within the deadline, whatever was tried
"""

import random
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from serving.schemas.event import EventReceipt
from serving.schemas.fields import Problem
from serving.schemas.recommendation import CartItem, RecommendationAnswer
from serving.schemas.status import ModelState, Readiness

_AGAIN = (429, 503)

Answer = TypeVar("Answer", bound=BaseModel)


class ClientError(Exception):
    """What went wrong with a request, as one sentence."""


class Refused(ClientError):
    """The service answered with a problem document, and sending the same again would not help."""

    def __init__(self, problem: Problem, request_id: str) -> None:
        super().__init__(f"{problem.title}: {problem.detail} (request {request_id})")
        self.problem = problem
        self.status = problem.status
        self.request_id = request_id


class Unavailable(ClientError):
    """No attempt brought an answer within the deadline; the cause is that of the last one."""


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try.

    ``deadline`` bounds a call with all its attempts and pauses, ``attempt`` each attempt, both in
    seconds. Before attempt n + 1 comes a random pause of up to ``pause * 2**n`` seconds, at most
    ``longest_pause``, or what the service asks for in Retry-After if that is longer.
    """

    deadline: float = 10.0
    attempt: float = 2.0
    attempts: int = 5
    pause: float = 0.1
    longest_pause: float = 2.0


class Client:
    """Calls the service at ``url``; ``key`` is an API key, which a service on loopback may not ask.

    Both calls that write may be sent again. Of an event that the service has, a second copy counts
    as a duplicate. A recommendation that was decided but did not arrive is decided again under the
    same request id, so that the decision log shows one request id twice.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        patience: Patience | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, transport=transport)
        self._patience = patience or Patience()
        self._sleep = sleep
        self._timer = timer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def recommend(
        self,
        user_id: str,
        placement: str,
        k: int = 10,
        cart: Iterable[CartItem] = (),
        explain: bool = False,
        as_of: datetime | None = None,
        request_id: str | None = None,
    ) -> RecommendationAnswer:
        """The coupons to show, best first. Raises Refused and Unavailable."""
        body: dict[str, Any] = {
            "user_id": user_id,
            "placement": placement,
            "k": k,
            "cart": [item.model_dump() for item in cart],
            "explain": explain,
        }
        if as_of is not None:
            body["as_of"] = as_of.isoformat()
        path = "/v1/recommendations"
        return self._call(RecommendationAnswer, "POST", path, body, request_id)

    def send_events(
        self, events: Iterable[Mapping[str, Any]], request_id: str | None = None
    ) -> EventReceipt:
        """Hand over what users did; the receipt says what was not taken and why.

        Raises Refused and Unavailable.
        """
        body = {"events": [dict(event) for event in events]}
        return self._call(EventReceipt, "POST", "/v1/events", body, request_id)

    def model(self) -> ModelState:
        """The ranker in use. Raises Refused and Unavailable."""
        return self._call(ModelState, "GET", "/v1/model")

    def readiness(self) -> Readiness:
        """What the service would answer with now. Raises Refused and Unavailable."""
        return self._call(Readiness, "GET", "/readyz")

    def _call(
        self,
        kind: type[Answer],
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> Answer:
        name = request_id or uuid.uuid4().hex
        response = self._answered(method, path, body, name)
        if not response.is_success:
            raise Refused(_problem(response), name)
        try:
            # A newer service may say more than this client knows of.
            return kind.model_validate_json(response.content, extra="ignore")
        except ValidationError as error:
            raise ClientError(
                f"Expected the answer of a Clipwise service at {path}, got something else "
                f"(request {name}); check the URL and the versions."
            ) from error

    def _answered(
        self, method: str, path: str, body: Mapping[str, Any] | None, name: str
    ) -> httpx.Response:
        """The first answer that is worth no other attempt. Raises Unavailable, Refused."""
        end = self._timer() + self._patience.deadline
        for attempt in range(self._patience.attempts):
            last: httpx.Response | Exception
            try:
                last = self._attempt(method, path, body, name, end)
                if last.status_code not in _AGAIN:
                    return last
            except httpx.RequestError as error:
                last = error
            pause = self._pause(attempt, last)
            if attempt + 1 == self._patience.attempts or self._timer() + pause >= end:
                break
            self._sleep(pause)
        if isinstance(last, httpx.Response):
            raise Refused(_problem(last), name)
        raise Unavailable(
            f"The service at {self._http.base_url} did not answer in {attempt + 1} attempts "
            f"(request {name}): {last or type(last).__name__}."
        ) from last

    def _attempt(
        self, method: str, path: str, body: Mapping[str, Any] | None, name: str, end: float
    ) -> httpx.Response:
        """One answer, whole. Raises httpx.RequestError, also if it comes too slowly."""
        seconds = max(0.001, min(self._patience.attempt, end - self._timer()))
        over, headers, parts = self._timer() + seconds, {"x-request-id": name}, []
        # httpx bounds the wait for each part of an answer, not for all of them.
        with self._http.stream(method, path, json=body, headers=headers, timeout=seconds) as answer:
            for part in answer.iter_bytes():
                parts.append(part)
                if self._timer() > over:
                    raise httpx.ReadTimeout("the answer came too slowly")
        # Its body is unpacked already.
        kept = {name: text for name, text in answer.headers.items() if name != "content-encoding"}
        return httpx.Response(answer.status_code, headers=kept, content=b"".join(parts))

    def _pause(self, attempt: int, last: httpx.Response | Exception) -> float:
        most = min(self._patience.longest_pause, self._patience.pause * 2**attempt)
        asked = last.headers.get("retry-after", "") if isinstance(last, httpx.Response) else ""
        return max(random.uniform(0, most), float(asked) if asked.isdecimal() else 0.0)


def _problem(response: httpx.Response) -> Problem:
    """The problem document of an answer; a proxy's answer of another kind in its place."""
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        return Problem(
            type="about:blank",
            title=response.reason_phrase or "Refused",
            status=response.status_code,
            detail="The answer did not come from a Clipwise service.",
        )
