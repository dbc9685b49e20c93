"""The client of the stock pair: ``python -m tests.benchmarks.serving_stock load SPEC``.

A recommendation is two calls, one after the other on two kept-alive connections, timed together:
``POST /get-online-features`` of ``feast serve`` with the user and all candidates, parsed, then
``POST /invocations`` of ``mlflow models serve`` with one row a candidate, parsed, and the ten best
taken. In the pair's favor, the rows that go to MLflow lie ready, so that crossing a user with 100
coupons costs nothing here, and the lists (what was bought, what is covered) are not asked for.
"""

import http.client
import itertools
import json
import sys
import threading
import time
from pathlib import Path

from tests.benchmarks.load import summary

USER = "a user's id"


def write_names(file: Path) -> None:
    """The service's features that are no lists, and the model's inputs in order."""
    from feast.types import Array

    from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
    from feature_repo.views.services import coupon_ranker_v1

    features = [
        f"{view.name}:{feature.name}"
        for view in coupon_ranker_v1.feature_view_projections
        for feature in view.features
        if not isinstance(feature.dtype, Array)
    ]
    file.write_text(json.dumps({"features": features, "inputs": list(RANKER_INPUTS)}))


class Pair:
    """Two kept-alive connections, and the bodies made up before the clock starts."""

    def __init__(self, spec: dict) -> None:
        import numpy as np

        work = Path(spec["work"])
        names = json.loads((work / "stock.json").read_text())
        coupons = names["coupons"]
        entities = {"user_id": [USER] * len(coupons), "coupon_id": coupons}
        self._asked = json.dumps({"features": names["features"], "entities": entities})
        self.users = names["users"]
        self._rows = [
            _split(names["inputs"], matrix) for matrix in np.load(work / "inputs.npy").tolist()
        ]
        self._ports = spec["feast"], spec["mlflow"]

    def connected(self) -> tuple[http.client.HTTPConnection, ...]:
        return tuple(http.client.HTTPConnection("127.0.0.1", port) for port in self._ports)

    def recommend(self, connections, user: str, number: int) -> list[int]:
        feast, mlflow = connections
        _post(feast, "/get-online-features", self._asked.replace(USER, user))
        rows = self._rows[number % len(self._rows)]
        scores = _post(mlflow, "/invocations", rows)["predictions"]
        return sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:10]


def _split(names: list[str], matrix: list[list[float]]) -> str:
    """JSON as MLflow documents it; what is not known is null."""
    rows = [[None if value != value else value for value in row] for row in matrix]
    return json.dumps({"dataframe_split": {"columns": names, "data": rows}})


def _post(connection: http.client.HTTPConnection, path: str, body: str) -> dict:
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}: {said[:300]!r}")
    return json.loads(said)


def load(pair: Pair, connections: int, seconds: float) -> tuple[list[float], list[str]]:
    """Seconds that every recommendation took, and what failed; a thread a connection."""
    took, failed = [], []
    turns = itertools.cycle(enumerate(pair.users))
    until = time.perf_counter() + seconds

    def one() -> None:
        connected = pair.connected()
        while (began := time.perf_counter()) < until:
            number, user = next(turns)
            try:
                pair.recommend(connected, user, number)
                took.append(time.perf_counter() - began)
            except (OSError, http.client.HTTPException, RuntimeError) as error:
                failed.append(repr(error))
                connected = pair.connected()

    threads = [threading.Thread(target=one) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took, failed


def main(what: str, said: str) -> None:
    if what == "names":
        write_names(Path(said))
        return
    spec = json.loads(said)
    pair = Pair(spec)
    load(pair, spec["connections"], spec["warm"])
    took, failed = load(pair, spec["connections"], spec["seconds"])
    print(json.dumps(summary(took, spec["seconds"], len(failed)) | {"said": (failed or [""])[0]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
