"""A load generator for an HTTP server: ``python -m tests.benchmarks.load SPEC``.

Every connection is kept alive and sends its next request as soon as the last is answered: a closed
loop. It uses asyncio's transports directly, so that it costs little beside the server.

``SPEC`` is JSON. Required:

- ``port``, ``path``, ``connections``, ``seconds``;
- ``bodies``: a file with one body per line, shared by all connections in turns;
- ``warm``: seconds of load before the measurement.

Optional:

- ``once``: each body is sent once, for at most ``seconds``;
- ``marker``: text in an answer; the answers that contain it are recorded with their time;
- ``required``: text that an answer must contain, or it counts as degraded. An answer with the
  header for degradation counts as degraded too.

Prints the results as JSON. A request fails unless its answer has status 200.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HEAD = "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
DEGRADED = b"x-clipwise-degraded"
LAST_SECONDS = 30
"""Timeout of the last answers, after the last request."""


@dataclass
class Answers:
    """All answers: the time of each, its seconds, and true if it had the marker."""

    ended: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    marked: list[bool] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    degraded: int = 0
    message: str = ""
    """The first answer or error that failed or was degraded."""
    is_over: bool = False


class Connection(asyncio.Protocol):
    """One connection in a closed loop."""

    def __init__(
        self, requests: Iterator[bytes], answers: Answers, until: float, spec: dict
    ) -> None:
        self._requests, self._answers, self._until = requests, answers, until
        self._marker = spec.get("marker", "").encode()
        self._required = spec.get("required", "").encode()
        self._pieces = b""
        self._waiting = False
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._pieces = self._pieces + data if self._pieces else data
        length = answer_length(self._pieces)
        if length is not None and len(self._pieces) >= length:
            self._answered(self._pieces[:length])
            self._pieces = b""
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting:
            self._fail(f"the connection was closed ({error})")
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        self._sent = time.perf_counter()
        request = next(self._requests, None) if self._sent < self._until else None
        self._waiting = request is not None
        if request is None:
            self._answers.is_over = True
            self._transport.close()
        else:
            self._transport.write(request)

    def _answered(self, answer: bytes) -> None:
        now = time.perf_counter()
        self._waiting = False
        if not answer.startswith(b"HTTP/1.1 200"):
            self._fail(answer[:300].decode(errors="replace"))
            return
        self._answers.ended.append(now)
        self._answers.took.append(now - self._sent)
        self._answers.marked.append(bool(self._marker) and self._marker in answer)
        if self._required not in answer or DEGRADED in answer:
            self._answers.degraded += 1
            self._answers.message = self._answers.message or answer[:600].decode(errors="replace")

    def _fail(self, reason: str) -> None:
        self._answers.failed.append(time.perf_counter())
        self._answers.message = self._answers.message or reason


def answer_length(data: bytes) -> int | None:
    """Returns the length of the answer in bytes, None until its head is complete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(b"content-length:")
    if at < 0:
        raise ValueError(f"Expected an answer with Content-Length, got {data[:end]!r}.")
    return end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])


def requests(spec: dict) -> list[bytes]:
    """Returns the requests, head and body, made before the timing."""
    head = HEAD.format(path=spec["path"], port=spec["port"]).encode()
    bodies = Path(spec["bodies"]).read_bytes().splitlines()
    return [b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body) for body in bodies]


async def load(spec: dict, warm: bool = False) -> Answers:
    """Sends requests for ``seconds``, or to warm up. A lost connection is opened again."""
    answers = Answers()
    every = requests(spec)
    sending = iter(every) if spec.get("once") else itertools.cycle(every)
    until = time.perf_counter() + spec["warm" if warm else "seconds"]

    async def connect() -> None:
        loop = asyncio.get_running_loop()
        while not answers.is_over and time.perf_counter() < until:
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(sending, answers, until, spec), "127.0.0.1", spec["port"]
                )
                late = until - time.perf_counter() + LAST_SECONDS
                await asyncio.wait_for(connection.done, max(late, LAST_SECONDS))
            except (OSError, TimeoutError) as error:
                answers.failed.append(time.perf_counter())
                answers.message = answers.message or repr(error)
                await asyncio.sleep(0.01)

    await asyncio.gather(*(connect() for _ in range(spec["connections"])))
    return answers


def quantile(values: Sequence[float], share: float) -> float:
    """Returns the smallest value that at least ``share`` do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)
    return ordered[max(rank, 1) - 1]


def summary(took: Sequence[float], seconds: float, failed: int = 0) -> dict:
    """Returns quantiles in ms, answers per second, and the number of failed requests."""
    found = {name: quantile(took, share) * 1e3 for name, share in QUANTILES.items()} if took else {}
    return found | {"rate": len(took) / seconds, "failed": failed, "answers": len(took)}


def around_swap(answers: Answers, before: float = 1.0, after: float = 1.0) -> dict:
    """Returns the summary of the answers during a swap, and of all answers before it.

    The swap lasts from ``before`` seconds ahead of the first answer with the marker to ``after``
    seconds past the last answer without it. Empty if no answer has the marker.
    """
    ordered = sorted(zip(answers.ended, answers.took, answers.marked, strict=True))
    first = next((ended for ended, _, marked in ordered if marked), None)
    if first is None:
        return {}
    last = max((ended for ended, _, marked in ordered if not marked), default=first)
    start, end = first - before, max(first, last) + after
    earlier = [took for ended, took, _ in ordered if ended < start]
    within = [took for ended, took, _ in ordered if start <= ended <= end]
    if not earlier:
        return {}
    began = ordered[0][0]
    return {
        "before": summary(earlier, start - began),
        "during": summary(within, end - start),
        "after": first - began,
    }


def main(spec: dict) -> None:
    import gc

    import uvloop

    # A pause of the garbage collector here would count as one of the server.
    gc.disable()
    if spec.get("warm"):
        uvloop.run(load(spec, warm=True))
    began = time.perf_counter()
    answers = uvloop.run(load(spec))
    seconds = time.perf_counter() - began if spec.get("once") else spec["seconds"]
    found = summary(answers.took, seconds, len(answers.failed))
    found |= {"degraded": answers.degraded, "message": answers.message}
    if spec.get("marker"):
        found["swap"] = around_swap(answers)
    print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
