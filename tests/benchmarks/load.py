"""A load on an HTTP server, from a process of its own: ``python -m tests.benchmarks.load SPEC``.

Every connection is kept alive and sends its next request as soon as the last is answered: a closed
loop, written on asyncio's own transports so that it costs a small part of what it measures.
``SPEC`` is JSON: ``port``, ``path``, ``bodies`` (a file with one body a line, taken in turns by all
connections), ``connections``, ``seconds``, ``warm`` (seconds before them that do not count), and
optionally ``once``: every body is sent once, and ``seconds`` are the most that may take;
``marker``: text of an answer that is noted with its time; and ``whole``: text that an answer has to
have, or it counts as degraded, as it does with the header that says so. What was measured is
printed as JSON. A request fails unless it is answered with status 200.
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
"""How long an answer may take once nothing more is sent."""


@dataclass
class Seen:
    """All answers: when each ended, seconds it took, and whether it had the marker."""

    ended: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    marked: list[bool] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    degraded: int = 0
    said: str = ""
    is_over: bool = False


class Caller(asyncio.Protocol):
    """One connection in a closed loop."""

    def __init__(self, requests: Iterator[bytes], seen: Seen, until: float, spec: dict) -> None:
        self._requests, self._seen, self._until = requests, seen, until
        self._marker = spec.get("marker", "").encode()
        self._whole = spec.get("whole", "").encode()
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
            self._seen.is_over = True
            self._transport.close()
        else:
            self._transport.write(request)

    def _answered(self, answer: bytes) -> None:
        now = time.perf_counter()
        self._waiting = False
        if not answer.startswith(b"HTTP/1.1 200"):
            self._fail(answer[:300].decode(errors="replace"))
            return
        self._seen.ended.append(now)
        self._seen.took.append(now - self._sent)
        self._seen.marked.append(bool(self._marker) and self._marker in answer)
        if self._whole not in answer or DEGRADED in answer:
            self._seen.degraded += 1
            self._seen.said = self._seen.said or answer[:600].decode(errors="replace")

    def _fail(self, why: str) -> None:
        self._seen.failed.append(time.perf_counter())
        self._seen.said = self._seen.said or why


def answer_length(data: bytes) -> int | None:
    """Bytes of the whole answer that begins here, None while its head is not all there."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(b"content-length:")
    if at < 0:
        raise ValueError(f"Expected an answer that states its length, got {data[:end]!r}.")
    return end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])


def requests(spec: dict) -> list[bytes]:
    """The whole requests, head and body, made up before the clock starts."""
    head = HEAD.format(path=spec["path"], port=spec["port"]).encode()
    bodies = Path(spec["bodies"]).read_bytes().splitlines()
    return [b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body) for body in bodies]


async def load(spec: dict, warm: bool = False) -> Seen:
    """Send for ``seconds``, or to warm up; a connection that is lost is opened again."""
    seen = Seen()
    made = requests(spec)
    made = iter(made) if spec.get("once") else itertools.cycle(made)
    until = time.perf_counter() + spec["warm" if warm else "seconds"]

    async def one() -> None:
        loop = asyncio.get_running_loop()
        while not seen.is_over and time.perf_counter() < until:
            try:
                _, caller = await loop.create_connection(
                    lambda: Caller(made, seen, until, spec), "127.0.0.1", spec["port"]
                )
                late = until - time.perf_counter() + LAST_SECONDS
                await asyncio.wait_for(caller.done, max(late, LAST_SECONDS))
            except (OSError, TimeoutError) as error:
                seen.failed.append(time.perf_counter())
                seen.said = seen.said or repr(error)
                await asyncio.sleep(0.01)

    await asyncio.gather(*(one() for _ in range(spec["connections"])))
    return seen


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)
    return ordered[max(rank, 1) - 1]


def summary(took: Sequence[float], seconds: float, failed: int = 0) -> dict:
    """Quantiles in ms, answers a second, and how many requests failed."""
    found = {name: quantile(took, share) * 1e3 for name, share in QUANTILES.items()} if took else {}
    return found | {"rate": len(took) / seconds, "failed": failed, "answers": len(took)}


def around(seen: Seen, before: float = 1.0, after: float = 1.0) -> dict:
    """The time in which the answers began to have the marker, beside all that came before.

    It is from ``before`` seconds ahead of the first answer with it to ``after`` seconds past the
    last one without.
    """
    answers = sorted(zip(seen.ended, seen.took, seen.marked, strict=True))
    first = next((ended for ended, _, marked in answers if marked), None)
    if first is None:
        return {}
    last = max((ended for ended, _, marked in answers if not marked), default=first)
    start, end = first - before, max(first, last) + after
    earlier = [took for ended, took, _ in answers if ended < start]
    within = [took for ended, took, _ in answers if start <= ended <= end]
    if not earlier:
        return {}
    began = answers[0][0]
    return {
        "before": summary(earlier, start - began),
        "during": summary(within, end - start),
        "after": first - began,
    }


def main(spec: dict) -> None:
    import gc

    import uvloop

    # A pause of this process would count as one of the server.
    gc.disable()
    if spec.get("warm"):
        uvloop.run(load(spec, warm=True))
    began = time.perf_counter()
    seen = uvloop.run(load(spec))
    seconds = time.perf_counter() - began if spec.get("once") else spec["seconds"]
    answer = summary(seen.took, seconds, len(seen.failed))
    answer |= {"degraded": seen.degraded, "said": seen.said}
    if spec.get("marker"):
        answer["swap"] = around(seen)
    print(json.dumps(answer))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
