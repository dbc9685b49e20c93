"""The client of the stock pair: ``python -m tests.benchmarks.serving_stock load SPEC``.

The pair is ``feast serve`` and ``mlflow models serve``. A recommendation is two calls, one after
the other on two kept-alive connections, timed together:

- ``POST /get-online-features`` with the user and all candidates, parsed;
- ``POST /invocations`` with one row per candidate, parsed, and the ten best selected.

Two things favor the pair: the rows for MLflow are made before, so joining a user with 100 coupons
costs nothing, and list features (purchases, covered products) are not requested.
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
"""Placeholder in the request, replaced by each user."""


def write_names(file: Path) -> None:
    """Writes the names of the service's scalar features, and of the model's inputs in order."""
    from feast.types import Array

    from feature_repo.transforms.request.ranker_inputs import INPUTS_OF
    from feature_repo.views.services import home_ranker_v1

    features = [
        f"{view.name}:{feature.name}"
        for view in home_ranker_v1.feature_view_projections
        for feature in view.features
        if not isinstance(feature.dtype, Array)
    ]
    file.write_text(json.dumps({"features": features, "inputs": list(INPUTS_OF["home"])}))


class Pair:
    """The request bodies of both servers, made before the timing."""

    def __init__(self, spec: dict) -> None:
        import numpy as np

        work = Path(spec["work"])
        names = json.loads((work / "stock.json").read_text())
        coupons = names["coupons"]
        entities = {"user_id": [USER] * len(coupons), "coupon_id": coupons}
        self._features = json.dumps({"features": names["features"], "entities": entities})
        self.users = names["users"]
        self._rows = [
            _split(names["inputs"], matrix) for matrix in np.load(work / "inputs.npy").tolist()
        ]
        self._ports = spec["feast"], spec["mlflow"]

    def connect(self) -> tuple[http.client.HTTPConnection, ...]:
        return tuple(http.client.HTTPConnection("127.0.0.1", port) for port in self._ports)

    def recommend(self, connections, user: str, number: int) -> list[int]:
        feast, mlflow = connections
        _post(feast, "/get-online-features", self._features.replace(USER, user))
        rows = self._rows[number % len(self._rows)]
        scores = _post(mlflow, "/invocations", rows)["predictions"]
        return sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:10]


def _split(names: list[str], matrix: list[list[float]]) -> str:
    """Returns MLflow's documented JSON; unknown values are null."""
    rows = [[None if value != value else value for value in row] for row in matrix]
    return json.dumps({"dataframe_split": {"columns": names, "data": rows}})


def _post(connection: http.client.HTTPConnection, path: str, body: str) -> dict:
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}: {content[:300]!r}")
    return json.loads(content)


def load(pair: Pair, connections: int, seconds: float) -> tuple[list[float], list[str]]:
    """Runs one thread per connection; returns the seconds of each recommendation, and errors."""
    took, failed = [], []
    turns = itertools.cycle(enumerate(pair.users))
    until = time.perf_counter() + seconds

    def one() -> None:
        connected = pair.connect()
        while (began := time.perf_counter()) < until:
            number, user = next(turns)
            try:
                pair.recommend(connected, user, number)
                took.append(time.perf_counter() - began)
            except (OSError, http.client.HTTPException, RuntimeError) as error:
                failed.append(repr(error))
                connected = pair.connect()

    threads = [threading.Thread(target=one) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took, failed


def main(task: str, argument: str) -> None:
    if task == "names":
        write_names(Path(argument))
        return
    spec = json.loads(argument)
    pair = Pair(spec)
    load(pair, spec["connections"], spec["warm"])
    took, failed = load(pair, spec["connections"], spec["seconds"])
    found = summary(took, spec["seconds"], len(failed))
    print(json.dumps(found | {"message": (failed or [""])[0]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
