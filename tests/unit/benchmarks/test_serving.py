"""The arithmetic of the serving benchmark's figures and verdicts."""

import asyncio
from contextlib import closing, suppress

from tests.benchmarks import serving_bars
from tests.benchmarks.load import Answers, answer_length, around_swap, load, quantile, summary
from tests.benchmarks.measuring import record
from tests.benchmarks.serving_runs import case_of, compared

ALONE = case_of(100, "empty", 1)


def test_p99_of_a_hundred_answers_is_the_second_slowest():
    assert quantile([*range(100)], 0.99) == 98
    assert quantile([5.0], 0.5) == 5.0
    assert quantile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0


def test_summary_is_in_milliseconds_and_answers_per_second():
    found = summary([0.001, 0.003, 0.002], 2.0, failed=1)

    assert (found["p50"], found["max"], found["rate"], found["failed"]) == (2.0, 3.0, 1.5, 1)
    assert "p50" not in summary([], 2.0, failed=7)


def test_answer_is_complete_when_its_body_has_arrived():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Request-ID: a\r\n\r\n"

    assert answer_length(head[:30]) is None
    assert answer_length(head + b"12") == len(head) + 5


def test_each_body_is_sent_once_with_the_option_once(tmp_path):
    bodies = [b'{"user_id":"%d"}' % number for number in range(20)]
    (tmp_path / "bodies").write_bytes(b"\n".join(bodies))
    received = []

    async def answer(reader, writer):
        with closing(writer), suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                received.append(await reader.readexactly(answer_length(head) - len(head)))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async def main():
        server = await asyncio.start_server(answer, "127.0.0.1")
        spec = {"port": server.sockets[0].getsockname()[1], "path": "/", "seconds": 30}
        spec |= {"bodies": tmp_path / "bodies", "connections": 3, "once": True}
        async with server:
            return await load(spec)

    answers = asyncio.run(main())

    assert (
        sorted(received) == sorted(bodies)
        and len(answers.took) == len(bodies)
        and not answers.failed
    )


def test_swap_lasts_from_before_the_first_new_to_after_the_last_old_answer():
    ended = [0.0, 1.0, 4.0, 5.0, 5.5, 6.5, 9.0]
    marked = [False, False, False, True, False, True, True]
    took = [0.001, 0.001, 0.002, 0.009, 0.002, 0.002, 0.5]

    found = around_swap(Answers(ended, took, marked))

    assert found["before"]["answers"] == 2
    assert (found["during"]["answers"], found["during"]["p99"]) == (4, 9.0)
    assert around_swap(Answers(ended, took, [False] * 7)) == {}


def test_figures_are_medians_and_failures_are_summed():
    runs = {
        "ours": [summary([0.001], 1, 1), summary([0.004], 1, 2), summary([0.002], 1)],
        "floor": [summary([0.002], 1)] * 3,
        "stock": [summary([0.100], 1)],
    }
    rows = {row["metric"]: row for row in compared(ALONE, runs)}

    assert (rows["p50"]["ours"], rows["p50"]["floor"]) == (2.0, 2.0)
    assert rows["p50"]["peers"] == {"stock": 100.0}
    assert rows["failed"]["ours"] == 3


def verdicts(*records: dict) -> list[str]:
    return [line.split()[0] for line in serving_bars.verdicts(records)]


def test_p50_is_compared_with_the_floor_and_the_stock_pair():
    assert verdicts(record(ALONE, "p50", "ms", 3.0, 2.0, {"stock": 90.0})) == ["PASS", "PASS"]
    assert verdicts(record(ALONE, "p50", "ms", 3.1, 2.0, {"stock": 90.0})) == ["FAIL", "FAIL"]
    for cart in ("twenty", "checkout"):
        assert verdicts(record(case_of(100, cart, 1), "p50", "ms", 3.0, 2.0)) == ["PASS"]
        assert verdicts(record(case_of(100, cart, 1), "p50", "ms", 3.1, 2.0)) == ["FAIL"]


def test_p99_and_throughput_have_their_own_limits():
    assert verdicts(record(ALONE, "p99", "ms", 10.1, 5.0)) == ["FAIL"]
    assert verdicts(record(case_of(1_000, "empty", 1), "p99", "ms", 24.9, 5.0)) == ["PASS"]
    for cart in ("empty", "checkout"):
        busy = case_of(100, cart, 64)
        assert verdicts(record(busy, "rate", "1/s", 599.0, 1_000.0)) == ["FAIL"]
        assert verdicts(record(busy, "rate", "1/s", 600.0, 1_000.0)) == ["PASS"]


def test_one_failed_or_degraded_answer_fails_and_so_does_a_case_without_answers():
    assert verdicts(record(ALONE, "failed", "", 1, 0)) == ["FAIL"]
    assert verdicts(record(ALONE, "degraded", "", 1, 0)) == ["FAIL"]
    assert verdicts(record(ALONE, "rate", "1/s", 0.0, 100.0)) == ["FAIL"]


def test_swap_that_shows_in_no_answer_fails():
    case = "swap, connections: 8"
    seen = [record(case, "swaps seen", "", 1, 2)]
    times = [record(case, "p99 before", "ms", 5.0), record(case, "p99 during", "ms", 10.0)]

    assert verdicts(*seen, *times) == ["FAIL", "PASS"]


def test_memory_has_a_limit_and_must_not_grow():
    case = "soak of 600 s, connections: 8"
    rows = [
        record(case, "memory after a tenth", "MB", 400.0),
        record(case, "memory at the end", "MB", 421.0),
    ]

    assert verdicts(*rows) == ["PASS", "PASS", "FAIL"]


def test_time_to_ready_counts_beyond_the_imports():
    assert verdicts(record("start to ready", "time", "s", 29.0, 20.0)) == ["PASS"]
    assert verdicts(record("start to ready", "time", "s", 31.0, 20.0)) == ["FAIL"]
