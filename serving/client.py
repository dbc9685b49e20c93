"""A Python client for shops, with timeouts and retries.

    with Client("http://127.0.0.1:8080", key="clipwise_...") as clipwise:
        answer = clipwise.recommend("900", "home", k=3)

* ClientError
  * Refused        the service refused the request; ``problem`` is its problem document
  * Unavailable    no answer within the deadline, after all attempts
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

_RETRIED_STATUSES = (429, 503)

Answer = TypeVar("Answer", bound=BaseModel)


class ClientError(Exception):
    """An error of a request. The message is one sentence."""


class Refused(ClientError):
    """The service refused the request. A 429 or 503 is raised only after all attempts."""

    def __init__(self, problem: Problem, request_id: str) -> None:
        super().__init__(f"{problem.title}: {problem.detail} (request {request_id})")
        self.problem = problem
        self.status = problem.status
        self.request_id = request_id


class Unavailable(ClientError):
    """No attempt got an answer within the deadline. The cause is the error of the last attempt."""


@dataclass(frozen=True)
class RetryPolicy:
    """Timeouts and retries of a call.

    ``deadline`` is the time of a call with all its attempts and pauses, ``attempt`` that of one
    attempt, both in seconds. Before attempt n + 1 the client pauses for a random time (full
    jitter): up to ``pause * 2**n`` seconds, at most ``longest_pause``. If the answer has a longer
    Retry-After, it pauses that long.
    """

    deadline: float = 10.0
    attempt: float = 2.0
    attempts: int = 5
    pause: float = 0.1
    longest_pause: float = 2.0


Patience = RetryPolicy
"""The name of RetryPolicy in version 0.1."""


class Client:
    """A client of the service at ``url``. A service on loopback may need no API key.

    Retries are safe for both calls that write. An event sent twice counts as a duplicate. A
    recommendation whose answer was lost is decided again under the same request id; then the
    decision log contains this id twice. ``patience`` is the name of ``retry`` in version 0.1.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        retry: RetryPolicy | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        timer: Callable[[], float] = time.monotonic,
        patience: RetryPolicy | None = None,
    ) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, transport=transport)
        self._retry = retry or patience or RetryPolicy()
        self._sleep = sleep
        self._timer = timer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
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
        combination: str = "best",
        visitor_id: str | None = None,
    ) -> RecommendationAnswer:
        """Returns the coupons to show, best first. Raises Refused and Unavailable."""
        body: dict[str, Any] = {
            "user_id": user_id,
            "placement": placement,
            "k": k,
            "cart": [item.model_dump() for item in cart],
            "explain": explain,
        }
        if combination != "best":
            body["combination"] = combination
        if visitor_id is not None:
            body["visitor_id"] = visitor_id
        if as_of is not None:
            body["as_of"] = as_of.isoformat()
        path = "/v1/recommendations"
        return self._call(RecommendationAnswer, "POST", path, body, request_id)

    def send_events(
        self, events: Iterable[Mapping[str, Any]], request_id: str | None = None
    ) -> EventReceipt:
        """Sends events of users. The receipt lists each rejected event with the reason.

        Raises Refused and Unavailable.
        """
        body = {"events": [dict(event) for event in events]}
        return self._call(EventReceipt, "POST", "/v1/events", body, request_id)

    def model(self) -> ModelState:
        """Returns the rankers in use. Raises Refused and Unavailable."""
        return self._call(ModelState, "GET", "/v1/model")

    def readiness(self) -> Readiness:
        """Returns the parts that answers are made from. Raises Refused and Unavailable."""
        return self._call(Readiness, "GET", "/readyz")

    def _call(
        self,
        kind: type[Answer],
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> Answer:
        request_id = request_id or uuid.uuid4().hex
        response = self._send(method, path, body, request_id)
        if not response.is_success:
            raise Refused(_problem(response), request_id)
        try:
            # A newer service may add fields that this client does not have.
            return kind.model_validate_json(response.content, extra="ignore")
        except ValidationError as error:
            raise ClientError(
                f"Expected the answer of a Clipwise service at {path}, got something else "
                f"(request {request_id}); check the URL and the versions."
            ) from error

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, request_id: str
    ) -> httpx.Response:
        """Returns the first answer that needs no retry. Raises Unavailable and Refused."""
        end = self._timer() + self._retry.deadline
        for attempt in range(self._retry.attempts):
            last: httpx.Response | Exception
            try:
                last = self._attempt(method, path, body, request_id, end)
                if last.status_code not in _RETRIED_STATUSES:
                    return last
            except httpx.RequestError as error:
                last = error
            pause = self._pause(attempt, last)
            if attempt + 1 == self._retry.attempts or self._timer() + pause >= end:
                break
            self._sleep(pause)
        if isinstance(last, httpx.Response):
            raise Refused(_problem(last), request_id)
        raise Unavailable(
            f"The service at {self._http.base_url} did not answer in {attempt + 1} attempts "
            f"(request {request_id}): {last or type(last).__name__}."
        ) from last

    def _attempt(
        self, method: str, path: str, body: Mapping[str, Any] | None, request_id: str, end: float
    ) -> httpx.Response:
        """Returns the whole answer. Raises httpx.RequestError, also if the answer is too slow."""
        seconds = max(0.001, min(self._retry.attempt, end - self._timer()))
        over, headers, parts = self._timer() + seconds, {"x-request-id": request_id}, []
        # The timeout of httpx applies to each part of an answer, not to the whole.
        with self._http.stream(method, path, json=body, headers=headers, timeout=seconds) as answer:
            for part in answer.iter_bytes():
                parts.append(part)
                if self._timer() > over:
                    raise httpx.ReadTimeout("the answer was too slow")
        # The body is decompressed already.
        kept = {name: text for name, text in answer.headers.items() if name != "content-encoding"}
        return httpx.Response(answer.status_code, headers=kept, content=b"".join(parts))

    def _pause(self, attempt: int, last: httpx.Response | Exception) -> float:
        longest = min(self._retry.longest_pause, self._retry.pause * 2**attempt)
        stated = last.headers.get("retry-after", "") if isinstance(last, httpx.Response) else ""
        return max(random.uniform(0, longest), float(stated) if stated.isdecimal() else 0.0)


def _problem(response: httpx.Response) -> Problem:
    """Returns the problem document of an answer, or one in place of a proxy's other answer."""
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        return Problem(
            type="about:blank",
            title=response.reason_phrase or "Refused",
            status=response.status_code,
            detail="The answer did not come from a Clipwise service.",
        )
