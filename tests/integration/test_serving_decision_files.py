import threading

import numpy as np
import pyarrow.parquet as pq
import pytest

from feature_repo.transforms.request import RANKER_INPUTS
from serving.decisions import Decision, DecisionLog, decision_schema
from serving.settings import DecisionLogSettings

SLOW = DecisionLogSettings(capacity=100, rows_per_file=10, flush_seconds=60)


def decision(number: int = 1) -> Decision:
    inputs = np.zeros((2, len(RANKER_INPUTS)), dtype=np.float32)
    inputs[0, 0] = np.nan
    return Decision(
        request_id=f"request-{number}",
        event_timestamp=1_514_678_400_000_000,
        user_id="900",
        placement="home",
        candidate_ids=np.array(["a", "b", "c"], dtype=object),
        coupon_ids=np.array(["b", "a"], dtype=object),
        features=inputs,
        scores=np.array([2.0, 1.0]),
        propensities=np.ones(2),
        model_name="coupon_ranker",
        model_version="3",
        feature_service="coupon_ranker_v1",
        removed='{"expired": 1}',
        cold_start=False,
        stale_features=("user_stats",),
    )


def rows(folder) -> list[dict]:
    return [row for path in sorted(folder.glob("*")) for row in pq.read_table(path).to_pylist()]


def test_decision_comes_back_from_the_file_as_it_was_made(tmp_path):
    log = DecisionLog(tmp_path, SLOW)
    log.record(decision())
    log.close()
    (row,) = rows(tmp_path)
    assert row["event_timestamp"].isoformat() == "2017-12-31T00:00:00+00:00"
    assert row["candidate_ids"] == ["a", "b", "c"] and row["coupon_ids"] == ["b", "a"]
    assert np.array(row["features"]).shape == (2, len(RANKER_INPUTS))
    assert np.isnan(row["features"][0][0])
    assert (row["scores"], row["propensities"]) == ([2.0, 1.0], [1.0, 1.0])
    assert row["removed"] == '{"expired": 1}' and row["stale_features"] == ["user_stats"]
    assert set(row) == set(decision_schema().names)


def test_closing_writes_what_waits(tmp_path):
    log = DecisionLog(tmp_path, SLOW)
    log.start()
    for number in range(7):
        log.record(decision(number))
    log.close()
    assert len(rows(tmp_path)) == 7 == log.written and log.dropped == 0


def test_a_file_holds_no_more_rows_than_stated(tmp_path):
    log = DecisionLog(tmp_path, SLOW)
    for number in range(25):
        log.record(decision(number))
    log.flush()
    assert sorted(pq.read_metadata(path).num_rows for path in tmp_path.glob("*")) == [5, 10, 10]


def test_what_does_not_fit_in_memory_is_dropped_and_counted(tmp_path):
    log = DecisionLog(tmp_path, DecisionLogSettings(capacity=3, rows_per_file=10))
    for number in range(5):
        log.record(decision(number))
    log.close()
    assert (len(rows(tmp_path)), log.written, log.dropped) == (3, 3, 2)


@pytest.mark.parametrize("seconds", [0.01, 60])
def test_a_full_file_is_written_without_waiting_and_a_small_one_after_a_while(tmp_path, seconds):
    log = DecisionLog(tmp_path, DecisionLogSettings(100, 10, seconds))
    log.start()
    for number in range(10 if seconds == 60 else 1):
        log.record(decision(number))
    waited = threading.Event()
    for _ in range(500):
        if log.written:
            break
        waited.wait(0.01)
    assert log.written > 0
    log.close()


def test_decisions_that_cannot_be_written_are_counted_and_later_ones_still_are_written(tmp_path):
    folder = tmp_path / "decisions"
    folder.write_text("in the way")
    log = DecisionLog(folder, SLOW)
    log.record(decision(1))
    log.flush()
    assert (log.dropped, log.written) == (1, 0)
    folder.unlink()
    log.record(decision(2))
    log.close()
    assert (log.dropped, log.written) == (1, 1) and len(rows(folder)) == 1


def test_no_temporary_file_stays_behind(tmp_path):
    log = DecisionLog(tmp_path, SLOW)
    log.record(decision())
    log.close()
    assert [path.suffix for path in tmp_path.iterdir()] == [".parquet"]


def test_decisions_of_many_threads_are_all_written(tmp_path):
    log = DecisionLog(tmp_path, DecisionLogSettings(1_000, 50, 0.01))
    log.start()
    threads = [
        threading.Thread(target=lambda t=t: [log.record(decision(t * 100 + n)) for n in range(50)])
        for t in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert len({row["request_id"] for row in rows(tmp_path)}) == 200
