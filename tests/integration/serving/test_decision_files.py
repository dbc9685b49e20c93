import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from serving.decisions.files import (
    batches,
    decision_schema,
    remove_leftovers,
    remove_older,
    write_decisions,
)
from serving.decisions.log import DecisionLog
from serving.decisions.settings import DecisionLogSettings
from serving.runtime.clock import steady_wall_clock
from tests.support import decision_writers
from tests.support.decision_writers import decision

SLOW = DecisionLogSettings(capacity=100, rows_per_file=10, flush_seconds=60)


def writer(program: str, folder: Path) -> subprocess.Popen:
    """A process that runs a program of decision_writers."""
    return subprocess.Popen(
        [sys.executable, decision_writers.__file__, program, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(condition) -> None:
    for _ in range(1_000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("the condition stayed false for 10 seconds")


def rows(folder) -> list[dict]:
    return [row for path in sorted(folder.glob("*")) for row in table(path)]


def table(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


def test_decision_is_read_back_from_the_file_unchanged(tmp_path):
    log = DecisionLog(tmp_path, SLOW, time.time)
    log.record(decision())
    log.close()
    (row,) = rows(tmp_path)
    assert row["event_timestamp"].isoformat() == "2017-12-31T00:00:00+00:00"
    assert row["candidate_ids"] == ["a", "b", "c"] and row["coupon_ids"] == ["b", "a"]
    assert np.array(row["features"]).shape == (2, len(RANKER_INPUTS))
    assert np.isnan(row["features"][0][0])
    assert (row["scores"], row["propensities"]) == ([2.0, 1.0], [1.0, 1.0])
    assert row["removed"] == '{"expired": 1}' and row["stale_features"] == ["user_stats"]
    assert row["cart_product_ids"] == ["milk"] and row["cart_quantities"] == [2.0]
    assert row["cart_unit_prices"] == [250.5]
    assert set(row) == set(decision_schema().names)


def test_closing_writes_the_waiting_decisions(tmp_path):
    log = DecisionLog(tmp_path, SLOW, time.time)
    log.start()
    for number in range(7):
        log.record(decision(number))
    log.close()
    assert len(rows(tmp_path)) == 7 == log.written and log.dropped == 0


def test_file_has_at_most_the_configured_rows(tmp_path):
    log = DecisionLog(tmp_path, SLOW, time.time)
    for number in range(25):
        log.record(decision(number))
    log.flush()
    assert sorted(pq.read_metadata(path).num_rows for path in tmp_path.glob("*")) == [5, 10, 10]


def test_decisions_beyond_the_capacity_are_dropped_and_counted(tmp_path):
    log = DecisionLog(tmp_path, DecisionLogSettings(capacity=3, rows_per_file=10), time.time)
    for number in range(5):
        log.record(decision(number))
    log.close()
    assert (len(rows(tmp_path)), log.written, log.dropped) == (3, 3, 2)


@pytest.mark.parametrize("seconds", [0.01, 60])
def test_full_file_is_written_at_once_and_a_small_one_after_the_flush_interval(tmp_path, seconds):
    log = DecisionLog(tmp_path, DecisionLogSettings(100, 10, seconds), time.time)
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


def test_decisions_wait_while_the_disk_is_full_and_are_written_once_there_is_room(tmp_path):
    full = threading.Event()

    def write(folder, decisions):
        if full.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_decisions(folder, decisions)

    settings = DecisionLogSettings(capacity=5, rows_per_file=2, flush_seconds=0.01)
    log = DecisionLog(tmp_path, settings, time.time, write)
    full.set()
    log.start()
    for number in range(8):
        log.record(decision(number))
    wait_for(lambda: log.problem)
    assert (log.dropped, log.written) == (3, 0) and "No space left" in log.problem
    full.clear()
    wait_for(lambda: log.written == 5)
    log.record(decision(8))
    log.close()
    assert log.problem is None and log.dropped == 3
    names = [row["request_id"] for row in rows(tmp_path)]
    assert sorted(names) == [f"request-{number}" for number in (0, 1, 2, 3, 4, 8)]


def test_decisions_are_in_one_file_after_a_failed_sync_of_its_name(tmp_path):
    tries = []

    def make_durable(paths):
        tries.append(paths)
        if len(tries) < 3:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def write(folder, decisions):
        return write_decisions(folder, decisions, make_durable)

    log = DecisionLog(tmp_path, SLOW, time.time, write)
    log.record(decision())
    for _ in range(3):
        log.flush()
    log.close()
    assert len(tries) == 3 and (log.written, log.dropped, len(rows(tmp_path))) == (1, 0, 1)


def test_decisions_for_a_disk_that_stays_full_are_counted_as_dropped_at_the_end(tmp_path):
    folder = tmp_path / "decisions"
    folder.write_text("in the way")
    log = DecisionLog(folder, SLOW, time.time)
    log.record(decision(1))
    log.flush()
    assert (log.dropped, log.written) == (0, 0) and log.problem
    log.close()
    assert (log.dropped, log.written) == (1, 0)


def test_decision_that_fits_no_file_loses_its_batch_only(tmp_path):
    log = DecisionLog(tmp_path, SLOW, time.time)
    log.record(replace(decision(1), scores=["text"]))
    log.flush()
    log.record(decision(2))
    log.close()
    assert (log.dropped, log.written, len(rows(tmp_path))) == (1, 1, 1)


def test_file_size_limit_of_the_kernel_loses_no_decision_and_leaves_no_partial_file(tmp_path):
    with writer("limited", tmp_path) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.split() == ["0", "dropped", "50", "written", "0", "dropped"]
    assert len(rows(tmp_path)) == 50


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], capture_output=True
    )
    if made.returncode:
        pytest.skip(f"needs to mount a tmpfs: {made.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_full_disk_leaves_no_partial_file_and_is_written_once_there_is_room(small_disk):
    filler, folder = small_disk / "filler", small_disk / "decisions"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(100_000))
    log = DecisionLog(folder, SLOW, time.time)
    for number in range(20):
        log.record(decision(number))
    log.flush()
    assert "No space left" in log.problem and not list(folder.glob("*"))
    filler.unlink()
    log.close()
    assert (log.written, log.dropped, log.problem, len(rows(folder))) == (20, 0, None, 20)


def test_killed_process_leaves_whole_files_and_loses_only_decisions_not_yet_due(tmp_path):
    with writer("endless", tmp_path) as process:
        due = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    kept = {row["request_id"] for path in tmp_path.glob("*.parquet") for row in table(path)}
    assert {f"request-{number}" for number in range(due)} <= kept


def test_leftover_of_a_crash_is_removed_at_the_next_start_and_a_file_in_progress_stays(tmp_path):
    (tmp_path / "crashed.tmp").write_bytes(b"PAR1")
    with (tmp_path / "in-progress.tmp").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert remove_leftovers(tmp_path) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["in-progress.tmp"]
    log = DecisionLog(tmp_path, SLOW, time.time)
    log.start()
    wait_for(lambda: not list(tmp_path.iterdir()))
    log.close()


def test_workers_that_clean_up_at_once_remove_each_file_once_without_an_error(tmp_path):
    for number in range(1_500):
        name = tmp_path / f"{number}{'.tmp' if number % 2 else '.parquet'}"
        name.touch()
        os.utime(name, (0, 0))

    def clean_up(_: int) -> int:
        return remove_leftovers(tmp_path) + remove_older(tmp_path, 1)

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(clean_up, range(6))) == 1_500
    assert not list(tmp_path.iterdir())


def test_files_are_removed_after_the_configured_days_and_kept_by_default(tmp_path):
    old, new = (write_decisions(tmp_path, [decision(number)]) for number in (1, 2))
    now = new.stat().st_mtime
    os.utime(old, (now - 9 * 86_400,) * 2)
    for days, left in ((None, {old, new}), (10, {old, new}), (8, {new})):
        log = DecisionLog(tmp_path, DecisionLogSettings(days=days), lambda: now)
        log.start()
        log.close()
        assert {*tmp_path.iterdir()} == left
    assert remove_older(tmp_path / "absent", now) == 0


def test_clock_that_jumps_ahead_removes_no_file(tmp_path):
    kept = write_decisions(tmp_path, [decision()])
    wall, timer = [kept.stat().st_mtime], [50.0]
    now = steady_wall_clock(lambda: wall[0], lambda: timer[0])
    log = DecisionLog(tmp_path, DecisionLogSettings(flush_seconds=0.01, days=30), now)
    log.start()
    wall[0] += 400 * 86_400
    timer[0] += 3_601
    log.record(decision(2))
    wait_for(lambda: log.written)
    log.close()
    assert kept.exists() and now() == kept.stat().st_mtime + 3_601
    wall[0] -= 500 * 86_400
    assert now() == wall[0]


def test_processes_that_write_to_one_folder_never_use_the_same_file(tmp_path):
    processes = [writer("many", tmp_path) for _ in range(3)]
    for process in processes:
        with process:
            assert process.wait(60) == 0
    assert len(rows(tmp_path)) == 3 * 40 and len(list(tmp_path.iterdir())) == 3 * 20


def test_no_temporary_file_is_left(tmp_path):
    log = DecisionLog(tmp_path, SLOW, time.time)
    log.record(decision())
    log.close()
    assert [path.suffix for path in tmp_path.iterdir()] == [".parquet"]


def test_decisions_of_many_threads_are_all_written(tmp_path):
    log = DecisionLog(tmp_path, DecisionLogSettings(1_000, 50, 0.01), time.time)
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


def test_decisions_that_arrive_during_a_flush_wait_for_the_next_one(tmp_path):
    def write(folder: Path, batch) -> Path:
        log.record(decision(99))
        return write_decisions(folder, batch)

    log = DecisionLog(tmp_path, SLOW, time.time, write)
    for number in range(25):
        log.record(decision(number))
    log.flush()
    sizes = sorted(len(table(path)) for path in tmp_path.glob("*.parquet"))
    assert sizes == [5, 10, 10] and log.written == 25


def test_only_full_files_are_written_while_the_flush_interval_lasts(tmp_path):
    log = DecisionLog(tmp_path, SLOW, time.time)
    log.start()
    for number in range(10):
        log.record(decision(number))
    wait_for(lambda: log.written == 10)
    for number in range(13):
        log.record(decision(number))
    wait_for(lambda: log.written == 20)
    assert [len(table(path)) for path in tmp_path.glob("*.parquet")] == [10, 10]
    log.close()
    assert (log.written, log.dropped) == (23, 0)


def test_texts_have_a_dictionary_in_the_file_and_numbers_do_not(tmp_path):
    path = write_decisions(tmp_path, [decision(number) for number in range(5)])
    group = pq.ParquetFile(path).metadata.row_group(0)
    found = [group.column(place) for place in range(group.num_columns)]
    names = {one.path_in_schema for one in found if "RLE_DICTIONARY" in one.encodings}
    lists = {f"{name}.list.element" for name in ("candidate_ids", "coupon_ids", "cart_product_ids")}
    assert lists | {"user_id", "model_version", "policy"} <= names
    assert not any(name.startswith(("features", "scores", "propensities")) for name in names)


def test_long_file_is_converted_in_batches_and_reads_as_one(tmp_path):
    decisions = [decision(number) for number in range(5)]
    whole = repr(table(write_decisions(tmp_path, decisions)))  # NaN is not equal to itself

    # Two decisions have six candidates and two cart lines.
    path = write_decisions(tmp_path, decisions, names_per_batch=8)

    assert [len(batch) for batch in batches(decisions, 8)] == [2, 2, 1]
    assert repr(table(path)) == whole
    assert pq.ParquetFile(path).num_row_groups == 1
