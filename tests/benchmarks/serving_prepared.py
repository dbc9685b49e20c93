"""Prepares a home for the benchmark: online store on Redis, model, inputs, request bodies."""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from feature_repo.names import CHAMPION, CHECKOUT, HOME
from feature_repo.transforms.request.ranker_inputs import INPUTS_OF
from tests.benchmarks.competing import progress
from tests.benchmarks.serving_data import (
    CLIPWISE,
    Home,
    SetUpFailed,
    registry_client,
    registry_of,
    run,
    variables,
    write_users,
)
from tests.benchmarks.serving_floor import KEY
from tests.benchmarks.serving_servers import at_redis, ours, redis_of

K = 10
MOST = 100
"""Most coupons that one request may ask for."""
MATRICES = 64
TRIES = 5
DEGRADED_HEADER = "X-Clipwise-Degraded"
CHECKED = 250_000
"""Candidates in the decisions that are checked before the measurement."""
CARTS = {"empty": "empty cart", "twenty": "cart of 20", "checkout": "checkout, cart of 20"}
"""The kinds of requests, and their names in a case. The cart of the last one can use all coupons,
as a checkout shows no others."""
PLACEMENTS = {"empty": HOME.key, "twenty": HOME.key, "checkout": CHECKOUT.key}
"""The placement of each kind of request."""


def prepared(home: Home) -> Home:
    """Makes the files that a run needs, except those that exist already."""
    if not (home.work / "users.json").exists():
        write_users(home)
    if not (home.work / "online.rdb").exists():
        _bring_online(home)
    if not (home.work / "model.ubj").exists():
        _write_model(home)
    if not (home.work / "inputs.npy").exists():
        _write_bodies(home)
        _write_stock(home)
        _write_inputs(home)
    return home


def _bring_online(home: Home) -> None:
    """Materializes into the home's Redis, adds the floor's values, and saves it to a file."""
    import redis

    with redis_of(home) as port:
        run([CLIPWISE, "materialize"], home.environment | at_redis(port))
        store = redis.Redis(port=port)
        sizes = sorted(_sizes(store))
        users = [user for user, _ in _users(home)]
        if len(sizes) < len(users):
            raise SetUpFailed(f"Expected {len(users)} users online, found {len(sizes)}.")
        for user, size in zip(users, sizes[-len(users) :], strict=True):
            store.set(KEY + user, bytes(size))
        progress(f"{len(users)} users online, {sum(sizes) // len(sizes):,} bytes each on average")
        store.save()


def _sizes(store) -> list[int]:
    """Returns the bytes of fields and values of every user's hash."""
    found = list(store.scan_iter(b"*user_id*", 5_000, "hash"))
    with store.pipeline(transaction=False) as pipe:
        for key in found:
            pipe.hgetall(key)
        return [sum(len(f) + len(v) for f, v in row.items()) for row in pipe.execute()]


def _users(home: Home) -> list[tuple[str, list[dict]]]:
    return json.loads((home.work / "users.json").read_text())


def _write_model(home: Home) -> None:
    """Copies the model file of the home ranker's champion from the registry."""
    import mlflow.artifacts

    client, uri = registry_client(home.journey), registry_of(home.journey)
    version = client.get_model_version_by_alias(HOME.model, CHAMPION).version
    place = client.get_model_version_download_uri(HOME.model, version)
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=place, tracking_uri=uri))
    shutil.copy(next(folder.glob("**/*.ubj")), home.work / "model.ubj")


def _write_bodies(home: Home) -> None:
    """Writes one request per household and line, of each kind."""
    common = {"product_id": json.loads((home.work / "common.json").read_text())}
    for name in CARTS:
        with bodies(home, name).open("w") as file:
            for user, cart in _users(home):
                lines = [] if name == "empty" else list(cart)
                if name == "checkout":
                    lines[-1] = common | {"quantity": 1, "unit_price": 1.0}
                body = {"user_id": user, "placement": PLACEMENTS[name], "k": K, "cart": lines}
                file.write(json.dumps(body) + "\n")


def bodies(home: Home, cart: str) -> Path:
    """Returns the file of request bodies of a kind."""
    return home.work / f"bodies-{cart}.jsonl"


def _write_inputs(home: Home) -> None:
    """Sends requests of both placements, checks the candidates, and writes the floor's inputs.

    Every decision must have exactly ``candidates`` candidates. With 100 candidates all households
    are checked; with more, fewer households, as the log stores all ids. The floor and the stock
    pair score the logged features of the best 100 coupons, repeated if a case has more rows. They
    use the model of the home ranker, so the inputs are those that it reads.
    """
    import numpy as np

    number = max(MATRICES, CHECKED // home.candidates)
    with redis_of(home) as port, ours(home, port, 1) as server:
        wanted, more = (
            _request_ids(server.port, bodies(home, name), number) for name in ("empty", "checkout")
        )
    decisions = logged_decisions(home.folder)
    for ids in (wanted, more):
        rows = [row for row in decisions if row["request_id"] in ids]
        numbers = {row["candidates"] for row in rows}
        if len(rows) != len(ids) or numbers != {home.candidates}:
            raise SetUpFailed(
                f"Expected {len(ids)} decisions of {home.candidates} candidates each, found "
                f"{len(rows)} of {sorted(numbers)}; the log is {home.work / 'clipwise.log'}."
            )
    rows = [row for row in decisions if row["request_id"] in wanted]
    progress(f"each of {len(rows)} households has {home.candidates} candidates at both placements")
    few = [np.array(row["features"], dtype=np.float32) for row in rows[:MATRICES]]
    few = [matrix[:, : len(INPUTS_OF[HOME.key])] for matrix in few]
    times = -(-home.candidates // len(few[0]))
    np.save(home.work / "inputs.npy", [np.tile(m, (times, 1))[: home.candidates] for m in few])


def _request_ids(port: int, file: Path, number: int) -> set[str]:
    """Sends the first requests of a file, each for ``MOST`` coupons; returns their ids.

    Raises SetUpFailed if one stays degraded.
    """
    import httpx

    requests = [json.loads(line) for line in file.read_text().splitlines()[:number]]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        return {_undegraded(client, one | {"k": MOST}) for one in requests}


def _undegraded(client, body: dict) -> str:
    # On a busy machine a read of the store may time out; then the request is sent again.
    for _ in range(TRIES):
        answer = client.post("/v1/recommendations", json=body).raise_for_status()
        degraded = answer.headers.get(DEGRADED_HEADER)
        if degraded is None:
            return answer.json()["request_id"]
    raise SetUpFailed(
        f"Expected an answer without degradation for {body}, got one with {degraded}."
    )


def logged_decisions(home: Path) -> Sequence[dict]:
    """Returns each decision: request id, number of candidates, features of shown coupons."""
    import duckdb

    files = str(home / "decisions" / "**" / "*.parquet")
    columns = "request_id, len(candidate_ids) AS candidates, features"
    return duckdb.sql(f"SELECT {columns} FROM read_parquet('{files}')").to_arrow_table().to_pylist()


def _write_stock(home: Home) -> None:
    """Writes the names that the stock pair requests, from a process that may import Feast."""
    file = home.work / "stock.json"
    command = [sys.executable, "-m", "tests.benchmarks.serving_stock", "names", str(file)]
    run(command, variables(home.folder))
    import pyarrow.parquet as pq

    coupons = pq.read_table(home.work / "campaign" / "coupons.parquet")
    made = [row["coupon_id"] for row in coupons.to_pylist() if row["campaign_id"] == "bench"]
    users = [user for user, _ in _users(home)]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"coupons": made, "users": users}))
