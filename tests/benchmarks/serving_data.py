"""What the serving benchmark serves: real purchases of the Complete Journey, made-up campaigns.

The real campaigns reach a household with any number of coupons, so one is made up that reaches
all households with exactly so many. Its coupons copy codes and scopes of real ones. Real campaigns
that would still be open are corrected to end where the data ends; those that ended stay as they
were. Rankers are trained on the Complete Journey alone, without anything made up.
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

from feature_repo.names import RANKER_MODEL
from tests.benchmarks.competing import CHECKOUT, say

CLIPWISE = str(Path(sys.executable).with_name("clipwise"))
CAMPAIGN = "bench"
CART = 20
SEEDS = (2017, 2018)
"""One version of the ranker each: the second is what a swap brings."""


class SetUpFailed(Exception):
    """What the benchmark stands on could not be made; the message ends with what was said."""


@dataclass(frozen=True)
class Home:
    """A state folder with ``candidates`` coupons for everyone, and the registry beside it."""

    folder: Path
    journey: Path
    candidates: int

    @property
    def work(self) -> Path:
        """What the benchmark keeps of its own beside the state."""
        return self.folder / "bench"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a ``clipwise`` that runs on this home, but for where Redis is."""
        return variables(self.folder) | {
            "MLFLOW_TRACKING_URI": registry_of(self.journey),
            "FEAST_FS_YAML_FILE_PATH": f"{CHECKOUT}/infra/feature_store.redis.yaml",
        }


def variables(home: Path) -> dict[str, str]:
    """What every process is told: its home, the same code, and no telemetry."""
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    return {"CLIPWISE_HOME": str(home), "PYTHONPATH": CHECKOUT} | quiet


def registry_of(journey: Path) -> str:
    """The MLflow store that has the versions."""
    return f"sqlite:///{journey / 'mlflow.db'}"


def run(what: Sequence[str], environment: Mapping[str, str]) -> str:
    """A command of the set-up to its end; gives what it printed. Raises SetUpFailed."""
    say(" ".join(Path(word).name if word == CLIPWISE else word for word in what))
    done = subprocess.run(what, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        raise SetUpFailed(f"{' '.join(what)} failed: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def journey(root: Path) -> Path:
    """The Complete Journey ingested, with two versions of the ranker that may serve; made once."""
    home = root / "journey"
    environment = variables(home)
    if not (home / "registry.db").exists():
        run([CLIPWISE, "ingest"], environment)
    for seed in SEEDS[_versions(home) :]:
        run([CLIPWISE, "train", "--seed", str(seed)], environment)
    kept = home / "forced.json"
    if not kept.exists():
        # The alias ends on the first; from then on both may serve.
        forced = {version: _promoted(version, environment) for version in ("2", "1")}
        kept.write_text(json.dumps(forced))
    say(f"champion 1, and 2 for the swap; promoted against the gate: {kept.read_text()}")
    return home


def _versions(home: Path) -> int:
    """How many versions of the ranker are registered."""
    if not (home / "mlflow.db").exists():
        return 0
    return len(registry_client(home).search_model_versions(f"name = '{RANKER_MODEL}'"))


def registry_client(journey: Path):
    """MLflow's own client of the registry, telemetry off."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    uri = registry_of(journey)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _promoted(version: str, environment: Mapping[str, str]) -> bool:
    """Make a version the champion; whether the gate had to be overruled."""
    command = [CLIPWISE, "promote", "--version", version, "--reason", "to be measured"]
    try:
        run(command, environment)
    except SetUpFailed as refused:
        say(str(refused))
        run([*command, "--force"], environment)
        return True
    return False


def home_of(root: Path, candidates: int) -> Home:
    """The home in which everyone has so many candidates, ingested; made once."""
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
    """Write the files of the made-up campaign; gives the instant at which the data ends."""
    import duckdb
    import pyarrow.parquet as pq

    from feature_repo.lake.reader import Lake

    lake = Lake(home)
    state = lake.state()
    until = state.watermark
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name in ("users", "coupons", "coupon_products"):
        connection.register(name, lake.known(name, state))
    connection.execute("CREATE TABLE made AS " + _MADE, [candidates])
    day = timedelta(days=1)
    times = {"until": until, "told": until - day, "plan": until - 2 * day, "end": until + 30 * day}
    folder.mkdir()
    for name, query in _FILES.items():
        wanted = {key: value for key, value in times.items() if f"${key}" in query}
        rows = connection.sql(query, params=wanted).to_arrow_table()
        pq.write_table(rows, folder / f"{name}.parquet")
    return until


# Real coupons with a scope, evenly over their ids; in turns if more are wanted than there are.
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

_FILES = {
    "coupons": f"""
        SELECT * REPLACE ($told AS created_timestamp, $until AS valid_to)
        FROM coupons WHERE valid_to > $until
        UNION ALL BY NAME
        SELECT coupon_id, $plan AS event_timestamp, $plan AS created_timestamp, coupon_code,
            '{CAMPAIGN}' AS campaign_id, 'Type A' AS campaign_type, 'targeted' AS audience,
            $told AS valid_from, $end AS valid_to
        FROM made""",
    "coupon_products": """
        SELECT made.coupon_id, product_id, $plan AS event_timestamp, $plan AS created_timestamp
        FROM made JOIN coupon_products scope ON scope.coupon_id = copied""",
    "exposures": f"""
        SELECT '{CAMPAIGN}:' || user_id AS exposure_id, $told AS event_timestamp,
            $told AS created_timestamp, user_id, '{CAMPAIGN}' AS campaign_id
        FROM users""",
}


def write_users(home: Home) -> None:
    """Write users.json: every household with its cart, the products that it bought last.

    A household that never bought so many products has what it bought, again from the start.
    """
    import duckdb

    from feature_repo.lake.reader import Lake

    lake = Lake(home.folder)
    state = lake.state()
    connection = duckdb.connect()
    for name in ("users", "events"):
        connection.register(name, lake.known(name, state))
    found = connection.execute(_LAST_BOUGHT, [CART]).fetchall()
    users = [[user, _cart(bought)] for user, bought in found]
    (home.work / "users.json").write_text(json.dumps(users))


# In an order that neither the ids nor the purchases follow, the same every time.
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
