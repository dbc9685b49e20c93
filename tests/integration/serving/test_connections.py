"""A real server and clients that are slow, send too much, or do not read their answer."""

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import pytest
import uvicorn

from serving.access.admission import Admission
from serving.access.api_keys import KeyRing
from serving.access.rate_limits import RateLimiter
from serving.errors import CannotListen
from serving.http.addresses import bound_socket, in_url, is_loopback
from serving.http.limits import Limits
from serving.http.protocol import BoundedConfig

LIMITS = Limits(max_body_bytes=1_000, head_seconds=0.5, body_seconds=0.5, write_seconds=0.5)
HUGE = 50 * 1_048_576


class _NoKeyAccepted:
    """Keys are required and there are none, so only open paths answer."""

    is_required = True

    def current(self) -> KeyRing:
        return KeyRing()


async def _app(scope, receive, send) -> None:
    """Answers with the size of the body, or at /static-offline-docs/large with 50 MB.

    At /static-offline-docs/slow the body follows later than the head.
    """
    message = await receive()
    if scope["path"].endswith("slow"):
        await _slow(send)
        return
    large = scope["path"].endswith("large")
    body = b"x" * HUGE if large else str(len(message["body"])).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for start in range(0, len(body), 65_536):
        part, more = body[start : start + 65_536], start + 65_536 < len(body)
        await send({"type": "http.response.body", "body": part, "more_body": more})


async def _slow(send) -> None:
    """Sends a head, and a body 0.2 seconds later."""
    headers = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await asyncio.sleep(0.2)
    await send({"type": "http.response.body", "body": b"late"})


class Address(NamedTuple):
    """The address of a server, and its open connections."""

    host: str
    port: int
    connections: set


@contextmanager
def running(limits: Limits) -> Iterator[Address]:
    """A server on a free port, in a thread."""
    admission = Admission(_app, _NoKeyAccepted(), RateLimiter(time.monotonic), limits)
    with bound_socket("127.0.0.1", 0) as bound:
        config = BoundedConfig(admission, limits, log_config=None, lifespan="off", ws="none")
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]})
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield Address(*bound.getsockname(), running.server_state.connections)
        running.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "a client blocked the shutdown of the server"


@pytest.fixture(scope="module")
def server():
    with running(LIMITS) as address:
        yield address


@pytest.fixture
def patient():
    """The address of a server that waits long for a client that does not read."""
    with running(replace(LIMITS, write_seconds=60.0)) as address:
        yield address[:2]


@pytest.fixture
def raw(server):
    with socket.create_connection(server[:2], timeout=10) as connection:
        yield connection


def head(path: str = "/healthz", **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: shop", *lines, "", ""]).encode()


def answered(server) -> int:
    """The status of a plain request, which other connections must not delay."""
    connection = http.client.HTTPConnection(*server[:2], timeout=5)
    connection.request("GET", "/healthz")
    status = connection.getresponse().status
    connection.close()
    return status


def until_closed(connection: socket.socket) -> bytes:
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def trickle(connection: socket.socket, data: bytes) -> None:
    """Sends one byte every 20 ms until the server closes the connection."""
    try:
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)
    except (BrokenPipeError, ConnectionResetError):
        pass


def test_head_that_trickles_gets_408(server, raw):
    begun = time.monotonic()
    sender = threading.Thread(target=trickle, args=(raw, head(x="y" * 400)))
    sender.start()
    assert answered(server) == 200
    received = until_closed(raw)
    assert received.startswith(b"HTTP/1.1 408 ") and b"application/problem+json" in received
    assert time.monotonic() - begun < 5
    sender.join()


def test_second_head_that_trickles_gets_408_too(server, raw):
    raw.sendall(head(content_length="0"))
    assert raw.recv(65_536).startswith(b"HTTP/1.1 200")
    raw.sendall(b"POST /healthz HT")
    assert until_closed(raw).startswith(b"HTTP/1.1 408 ")


def test_connection_that_sends_nothing_is_closed_without_an_answer(raw):
    assert until_closed(raw) == b""


def test_body_that_trickles_gets_408(server, raw):
    raw.sendall(head(content_length="500"))
    sender = threading.Thread(target=trickle, args=(raw, b"x" * 500))
    sender.start()
    assert answered(server) == 200
    assert until_closed(raw).startswith(b"HTTP/1.1 408 ")
    sender.join()


def test_head_without_end_is_refused(raw):
    raw.sendall(b"GET /healthz HTTP/1.1\r\n")
    try:
        for number in range(5_000):
            raw.sendall(f"X-{number}: {'y' * 50}\r\n".encode())
    except (BrokenPipeError, ConnectionResetError):
        pass
    # A client that is cut off while it sends may not be able to read the answer.
    assert until_closed(raw)[:13] in (b"HTTP/1.1 431 ", b"")


def test_head_without_end_behind_an_unread_answer_is_not_kept(patient):
    with socket.create_connection(patient, timeout=10) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        raw.sendall(b"GET /static-offline-docs/large HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert raw.recv(1)
        raw.sendall(b"GET /healthz HTTP/1.1\r\nX-Long: ")
        with pytest.raises(ConnectionError):
            for _ in range(HUGE // 65_536):
                raw.sendall(b"y" * 65_536)


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00\x01", b"POST /healthz HTTP/1.1\r\nHo"])
def test_data_that_is_no_request_gets_a_problem_with_the_headers_of_every_answer(raw, sent):
    raw.sendall(sent)
    head, _, body = until_closed(raw).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert int(status.split()[1]) == json.loads(body)["status"] in (400, 408)
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store" and len(headers["x-request-id"]) == 32
    assert "default-src 'none'" in headers["content-security-policy"]


UPGRADE = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2_settings": "AAEAAEAA"}


def test_offer_of_another_protocol_loses_no_body(raw):
    request = head(content_length="3", **UPGRADE) + b"abc"
    for _ in range(2):
        raw.sendall(request)
        assert raw.recv(65_536).endswith(b"\r\n\r\n3")
    raw.sendall(request[:30])
    time.sleep(0.05)
    raw.sendall(request[30:-1])
    time.sleep(0.05)
    raw.sendall(
        request[-1:] + head(content_length="2", **UPGRADE | {"connection": "upgrade, close"})
    )
    raw.sendall(b"ab")
    received = until_closed(raw)
    assert received.count(b"HTTP/1.1 200 OK") == 2 and received.endswith(b"\r\n\r\n2")


def test_chunked_body_with_an_offer_of_another_protocol_is_read_whole(raw):
    raw.sendall(head(transfer_encoding="chunked", **UPGRADE) + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert raw.recv(65_536).endswith(b"\r\n\r\n5")


def test_tunnel_is_refused(raw):
    raw.sendall(b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere\r\n\r\n")
    assert until_closed(raw).startswith(b"HTTP/1.1 400 ")


def test_broken_chunk_is_a_problem(raw):
    raw.sendall(head(transfer_encoding="chunked") + b"3\r\nabc\r\nno size\r\n")
    assert until_closed(raw).startswith(b"HTTP/1.1 400 ")


def test_fifty_megabytes_are_refused_and_the_client_can_read_why(server):
    connection = http.client.HTTPConnection(*server[:2], timeout=20)
    connection.request("POST", "/healthz", body=b"x" * HUGE)
    assert connection.getresponse().status == 413
    connection.close()


def test_fifty_megabytes_in_chunks_are_refused_and_the_client_can_read_why(server):
    connection = http.client.HTTPConnection(*server[:2], timeout=20)
    chunks = (b"x" * 65_536 for _ in range(HUGE // 65_536))
    connection.request("POST", "/healthz", body=chunks, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_client_that_expects_100_continue_gets_413_for_a_large_body(raw):
    raw.sendall(head(content_length=str(HUGE), expect="100-continue"))
    received = raw.recv(65_536)
    assert received.startswith(b"HTTP/1.1 413 ") and b"100 Continue" not in received


def test_client_that_expects_100_continue_may_send_a_small_body(raw):
    raw.sendall(head(content_length="3", expect="100-continue"))
    assert raw.recv(65_536).startswith(b"HTTP/1.1 100 Continue")
    raw.sendall(b"abc")
    assert raw.recv(65_536).endswith(b"\r\n\r\n3")


def test_connection_stays_open_after_a_refusal(server):
    connection = http.client.HTTPConnection(*server[:2], timeout=5)
    for _ in range(3):
        connection.request("POST", "/v1/events", body=b"x" * 900)
        answer = connection.getresponse()
        assert answer.status == 401 and answer.headers["connection"] is None and answer.read()
    own = connection.sock
    assert own is not None
    connection.close()


def test_refused_client_with_a_large_body_can_read_why(server):
    connection = http.client.HTTPConnection(*server[:2], timeout=20)
    connection.request("POST", "/v1/events", body=b"x" * (HUGE // 10))
    assert connection.getresponse().status == 401
    connection.close()


def test_client_that_does_not_read_is_dropped_and_delays_no_other(server, raw):
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    raw.sendall(b"GET /static-offline-docs/large HTTP/1.1\r\nHost: shop\r\n\r\n")
    assert raw.recv(1)
    begun = time.monotonic()
    while server.connections and time.monotonic() - begun < 5:
        assert answered(server) == 200
        time.sleep(0.05)
    assert not server.connections


def test_chunked_request_within_the_limit_is_accepted(server):
    connection = http.client.HTTPConnection(*server[:2], timeout=5)
    connection.request("POST", "/healthz", body=(b"x" * 10 for _ in range(9)), encode_chunked=True)
    assert connection.getresponse().read() == b"90"
    connection.close()


def test_port_in_use_is_one_sentence(server):
    with pytest.raises(CannotListen, match=r"^Port \d+ of 127.0.0.1 is in use; .*--port"):
        bound_socket(*server[:2])


@pytest.mark.parametrize("host", ["no such host", "192.0.2.1", "x" * 300])
def test_address_of_another_machine_is_one_sentence(host):
    with pytest.raises(CannotListen):
        bound_socket(host, 0)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("", False),
        ("::", False),
        ("192.168.1.2", False),
        ("shop.example", False),
    ],
)
def test_loopback_addresses_are_recognized(host, loopback):
    assert is_loopback(host) is loopback
    assert in_url(host) == (f"[{host}]" if ":" in host else host)


def test_answer_arrives_in_one_piece(raw):
    for _ in range(3):
        raw.sendall(head("/static-offline-docs/x", content_length="2") + b"ab")
        received = raw.recv(65_536)
        assert received.startswith(b"HTTP/1.1 200 ") and received.endswith(b"\r\n\r\n2")


def test_head_is_sent_before_a_late_body(raw):
    raw.sendall(head("/static-offline-docs/slow", content_length="0"))
    assert raw.recv(65_536).endswith(b"\r\n\r\n")
    assert raw.recv(65_536) == b"late"


def test_answers_to_requests_sent_at_once_come_in_their_order(raw):
    parts = [head("/static-offline-docs/x", content_length=str(n)) + b"a" * n for n in (1, 2, 3)]
    raw.sendall(b"".join(parts))
    received = b""
    while received.count(b"HTTP/1.1 200 ") < 3 or not received.endswith(b"\r\n\r\n3"):
        received += raw.recv(65_536)
    assert [part[-1:] for part in received.split(b"HTTP/1.1 200 ")[1:]] == [b"1", b"2", b"3"]
