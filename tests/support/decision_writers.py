"""Decisions for tests, and programs that log decisions in another process.

Run it with the name of a program and a folder.
"""

import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from serving.decisions.log import DecisionLog
from serving.decisions.record import Decision
from serving.decisions.settings import DecisionLogSettings


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
        model_name="home_ranker",
        model_version="3",
        feature_service="home_ranker_v1",
        removed='{"expired": 1}',
        cold_start=False,
        stale_features=("user_stats",),
        cart_product_ids=["milk"],
        cart_quantities=[2.0],
        cart_unit_prices=[250.5],
    )


def many(folder: Path) -> None:
    """Logs forty decisions in twenty files."""
    log = DecisionLog(folder, DecisionLogSettings(100, 2, 60), time.time)
    for number in range(40):
        log.record(decision(number))
    log.close()


def endless(folder: Path) -> None:
    """Logs until killed; prints the number of decisions that must be on the disk by then."""
    log = DecisionLog(folder, DecisionLogSettings(10_000, 50, 0.05), time.time)
    log.start()
    for number in range(1_000_000):
        if number == 500:
            while log.written < 500:
                time.sleep(0.01)
            print(500, flush=True)
        log.record(decision(number))
        time.sleep(0.0002)


def limited(folder: Path) -> None:
    """Logs while the kernel refuses files above 2 kB, then without that limit."""
    # By default the signal ends the process; ignored, the write fails with an error.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_048, hard))
    log = DecisionLog(folder, DecisionLogSettings(100, 100, 60), time.time)
    for number in range(50):
        log.record(decision(number))
    log.flush()
    if log.problem is None or list(folder.iterdir()):
        raise SystemExit(f"expected no file and a problem, got {log.problem}")
    print(log.dropped, "dropped")
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.close()
    print(log.written, "written", log.dropped, "dropped")


if __name__ == "__main__":
    program, folder = sys.argv[1:]
    {"many": many, "endless": endless, "limited": limited}[program](Path(folder))
