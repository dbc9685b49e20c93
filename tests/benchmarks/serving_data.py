"""Data of the serving benchmark: real purchases of the Complete Journey, a synthetic campaign.

The real campaigns reach households with varying numbers of coupons. The synthetic campaign reaches
every household with exactly the wanted number. Its coupons copy codes and scopes of real ones. All
of them also cover one more product, which only one household has bought, so that a cart with it can
use every coupon. Real campaigns that are still open are corrected to end with the data; ended ones
stay. Rankers are trained on the Complete Journey alone.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from feature_repo.names import RANKERS
from tests.benchmarks.competing import CHECKOUT, progress

CLIPWISE = str(Path(sys.executable).with_name("clipwise"))
CAMPAIGN = "bench"
CART = 20
SEEDS = (2017, 2018)
"""One version of each ranker per seed; a swap changes to the second."""


class SetUpFailed(Exception):
    """The setup of the benchmark failed; the message ends with the command's output."""


@dataclass(frozen=True)
class Home:
    """A state folder with ``candidates`` coupons for every household, and its registry."""

    folder: Path
    journey: Path
    candidates: int

    @property
    def work(self) -> Path:
        """The folder of the benchmark's own files."""
        return self.folder / "bench"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a ``clipwise`` on this home, without the address of Redis."""
        return variables(self.folder) | {
            "MLFLOW_TRACKING_URI": registry_of(self.journey),
            "FEAST_FS_YAML_FILE_PATH": f"{CHECKOUT}/infra/feature_store.redis.yaml",
        }


def variables(home: Path) -> dict[str, str]:
    """Returns the environment of every process: its home, this code, no telemetry."""
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    return {"CLIPWISE_HOME": str(home), "PYTHONPATH": CHECKOUT} | quiet


def registry_of(journey: Path) -> str:
    """Returns the URI of the MLflow store with the versions."""
    return f"sqlite:///{journey / 'mlflow.db'}"


def run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Runs a command of the setup and returns its output. Raises SetUpFailed."""
    progress(" ".join(Path(word).name if word == CLIPWISE else word for word in command))
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        raise SetUpFailed(f"{' '.join(command)} failed: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def journey(root: Path) -> Path:
    """Ingests the Complete Journey and trains two servable versions of each ranker, once."""
    home = root / "journey"
    environment = variables(home)
    if not (home / "registry.db").exists():
        run([CLIPWISE, "ingest"], environment)
    for seed in SEEDS[_versions(home) :]:
        run([CLIPWISE, "train", "--seed", str(seed)], environment)
    kept = home / "forced.json"
    if not kept.exists():
        # The first is promoted last, so it is champion; both were promoted, so both may serve.
        forced = {
            f"{ranker} {version}": _promote(ranker, version, environment)
            for version in ("2", "1")
            for ranker in RANKERS
        }
        kept.write_text(json.dumps(forced))
    progress(
        f"champions are versions 1, swaps change to 2; forced against the gate: {kept.read_text()}"
    )
    return home


def _versions(home: Path) -> int:
    """Returns the number of versions that every ranker has in the registry."""
    if not (home / "mlflow.db").exists():
        return 0
    client = registry_client(home)
    models = [names.model for names in RANKERS.values()]
    return min(len(client.search_model_versions(f"name = '{model}'")) for model in models)


def registry_client(journey: Path):
    """Returns MLflow's client of the registry, with telemetry off."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    uri = registry_of(journey)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _promote(ranker: str, version: str, environment: Mapping[str, str]) -> bool:
    """Makes a version the champion; returns True if it had to be forced against the gate."""
    command = [CLIPWISE, "promote", "--ranker", ranker, "--version", version]
    command += ["--reason", "benchmark"]
    try:
        run(command, environment)
    except SetUpFailed as refused:
        progress(str(refused))
        run([*command, "--force"], environment)
        return True
    return False


def home_of(root: Path, candidates: int) -> Home:
    """Returns the ingested home with ``candidates`` coupons per household; makes it if missing."""
    home = Home(root / f"candidates-{candidates}", root / "journey", candidates)
    ready = home.work / "ingested"
    if ready.exists():
        return home
    shutil.rmtree(home.folder, ignore_errors=True)
    shutil.copytree(home.journey / "lake", home.folder / "lake")
    home.work.mkdir()
    files = home.work / "campaign"
    until = write_campaign(home.folder, files, candidates)
    command = [CLIPWISE, "ingest", "--source", "files", "--path", str(files)]
    run([*command, "--as-of", until.isoformat()], variables(home.folder))
    ready.touch()
    return home


def write_campaign(home: Path, folder: Path, candidates: int) -> datetime:
    """Writes the files of the synthetic campaign; returns the instant at which the data ends."""
    import duckdb
    import pyarrow.parquet as pq

    from feature_repo.lake.reader import Lake

    lake = Lake(home)
    state = lake.state()
    until = state.watermark
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name in ("users", "coupons", "coupon_products", "events", "products"):
        connection.register(name, lake.known(name, state))
    connection.execute("CREATE TABLE made AS " + _MADE, [candidates])
    connection.execute("CREATE TABLE common AS " + _COMMON)
    day = timedelta(days=1)
    times = {
        "until": until,
        "launch": until - day,
        "plan": until - 2 * day,
        "end": until + 30 * day,
    }
    folder.mkdir()
    for name, query in _FILES.items():
        wanted = {key: value for key, value in times.items() if f"${key}" in query}
        rows = connection.sql(query, params=wanted).to_arrow_table()
        pq.write_table(rows, folder / f"{name}.parquet")
    return until


# Real coupons with a scope, spread evenly over their ids; repeated if there are too few.
_MADE = f"""
    WITH real AS (
        SELECT coupon_id, coupon_code, row_number() OVER (ORDER BY coupon_id) - 1 AS place,
            count(*) OVER () AS number
        FROM coupons WHERE coupon_id IN (SELECT coupon_id FROM coupon_products)),
    wanted AS (SELECT range AS made, CAST(? AS BIGINT) AS candidates, number
        FROM range(100000), (SELECT any_value(number) AS number FROM real))
    SELECT '{CAMPAIGN}:' || made || ':' || coupon_code AS coupon_id, coupon_code,
        coupon_id AS copied
    FROM wanted JOIN real ON place = CASE WHEN candidates <= wanted.number
        THEN made * wanted.number // candidates ELSE made % wanted.number END
    WHERE made < candidates"""

# A product of no coupon that one household has bought: it hardly changes the features.
_COMMON = """
    SELECT product_id FROM events JOIN products USING (product_id)
    WHERE event_type = 'purchase'
        AND product_id NOT IN (SELECT product_id FROM coupon_products)
    GROUP BY product_id HAVING count(DISTINCT user_id) = 1 ORDER BY product_id LIMIT 1"""

_FILES = {
    "coupons": f"""
        SELECT * REPLACE ($launch AS created_timestamp, $until AS valid_to)
        FROM coupons WHERE valid_to > $until
        UNION ALL BY NAME
        SELECT coupon_id, $plan AS event_timestamp, $plan AS created_timestamp, coupon_code,
            '{CAMPAIGN}' AS campaign_id, 'Type A' AS campaign_type, 'targeted' AS audience,
            $launch AS valid_from, $end AS valid_to
        FROM made""",
    "coupon_products": """
        SELECT made.coupon_id, product_id, $plan AS event_timestamp, $plan AS created_timestamp
        FROM made JOIN coupon_products scope ON scope.coupon_id = copied
        UNION ALL
        SELECT coupon_id, product_id, $plan, $plan FROM made, common""",
    "exposures": f"""
        SELECT '{CAMPAIGN}:' || user_id AS exposure_id, $launch AS event_timestamp,
            $launch AS created_timestamp, user_id, '{CAMPAIGN}' AS campaign_id
        FROM users""",
}


def write_users(home: Home) -> None:
    """Writes users.json: every household with a cart of its most recently bought products.

    A household with fewer distinct products than ``CART`` gets them repeatedly. Also writes
    common.json, the product that all coupons cover.
    """
    import duckdb

    from feature_repo.lake.reader import Lake

    lake = Lake(home.folder)
    state = lake.state()
    connection = duckdb.connect()
    for name in ("users", "events", "coupon_products"):
        connection.register(name, lake.known(name, state))
    common = connection.execute(_COVERED_BY_ALL, [f"{CAMPAIGN}:", home.candidates]).fetchall()
    if not common:
        raise SetUpFailed("Expected a product that all coupons cover: set up again with --fresh.")
    (home.work / "common.json").write_text(json.dumps(common[0][0]))
    found = connection.execute(_LAST_BOUGHT, [CART]).fetchall()
    users = [[user, _cart(bought)] for user, bought in found]
    (home.work / "users.json").write_text(json.dumps(users))


_COVERED_BY_ALL = """
    SELECT product_id FROM coupon_products WHERE starts_with(coupon_id, ?)
    GROUP BY product_id HAVING count(DISTINCT coupon_id) = ? ORDER BY product_id"""

# The order is fixed, and independent of ids and purchases.
_LAST_BOUGHT = """
    WITH ever AS (
        SELECT user_id, product_id, max(event_timestamp) AS bought,
            arg_max(amount / quantity, event_timestamp) / 100 AS price
        FROM events WHERE event_type = 'purchase' AND quantity > 0 GROUP BY ALL),
    bought AS (
        SELECT * FROM ever
        QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY bought DESC, product_id) <= ?)
    SELECT user_id, list([product_id, CAST(price AS VARCHAR)] ORDER BY bought DESC, product_id)
        FILTER (product_id IS NOT NULL)
    FROM users LEFT JOIN bought USING (user_id) GROUP BY user_id ORDER BY md5(user_id)"""


def _cart(bought: Sequence[Sequence[str]] | None) -> list[dict]:
    lines = [
        {"product_id": product, "quantity": 1, "unit_price": float(price)}
        for product, price in bought or ()
    ]
    return (lines * CART)[:CART]
