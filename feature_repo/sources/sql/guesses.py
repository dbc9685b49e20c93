"""Guesses for a draft: the column of a file that may be a column of the contract, and its cast."""

import re
from collections.abc import Iterable, Sequence

from feature_repo.contract import Column, Table
from feature_repo.lake.duckdb_files import literal

UNKNOWN = "???"
"""Stands in a draft for what cannot be guessed; it is no SQL."""

# Other names of a column, most exact first. A name of a file is compared in lower case, without
# spaces and underscores.
_NAMES: dict[str, str] = {
    "user_id": r"(user|customer|client|visitor|household|member|shopper|card)(id|key|no|number)?",
    "product_id": r"(product|item|article|sku|stock)(id|code|no|number)?",
    "coupon_id": r"(coupon|offer|promo)(id|code|upc|no|number)?",
    "coupon_code": r"coupon(code|upc)",
    "campaign_id": r"campaign(id|no|number)?",
    "campaign_type": r"campaigntype|typeofcampaign",
    "basket_id": r"(basket|invoice|order|transaction|receipt|ticket)(id|no|number)?",
    "event_timestamp": (
        r"(event|invoice|order|transaction|purchase|sold)?(timestamp|datetime|date|time|at|day)"
    ),
    "valid_from": r"(valid|start)(from|day|date)|startsat",
    "valid_to": r"(valid|end)(to|day|date|until)|endsat",
    "event_type": r"event|eventtype|action",
    "quantity": r"(product|item)?(quantity|qty|units)",
    "amount": r"amount|salesvalue|total|linetotal|revenue|sales|price|unitprice",
    "name": r"name|productname|title|description|(item|product)description",
    "department": r"department|departmentid|level1",
    "category": r"category(id)?|productcategory|commoditydesc|aisle|aisleid|level2",
    "brand": r"brand(id)?|manufacturer",
    "stock": r"stock|instock",
}


def match(table: Table, names: Iterable[str]) -> dict[str, str]:
    """Returns a column of the file for each column of the table that has a likely one.

    >>> from feature_repo.contract import TABLES
    >>> match(TABLES["events"], ["Invoice", "StockCode", "Quantity", "Customer ID"])
    {'user_id': 'Customer ID', 'product_id': 'StockCode', 'basket_id': 'Invoice', 'quantity': \
'Quantity'}
    """
    by_name = {re.sub(r"[\W_]", "", name.lower()): name for name in names}
    found = {}
    for column in table.columns:
        exact = by_name.get(column.name.replace("_", ""))
        pattern = _NAMES.get(column.name, r"(?!)")
        likely = (name for plain, name in by_name.items() if re.fullmatch(pattern, plain))
        name = exact or next(likely, None)
        if name is not None:
            found[column.name] = name
    return found


def expression(column: Column, name: str, values: Sequence[str]) -> str:
    """Returns SQL for a contract column from a column of text with these first values.

    >>> from feature_repo.contract import TABLES
    >>> expression(TABLES["users"].column("user_id"), "card", ["19001.0"])
    "regexp_replace(card, '\\\\.0$', '')"
    """
    if column.unit is not None:
        return f"CAST({name} AS DECIMAL(18, 4))"
    if column.type == "timestamp":
        return _instant(name, values)
    if column.name == "event_type":
        return _kinds(column, name, values)
    if column.type == "string":
        is_float = values and all(re.fullmatch(r"\d+\.0", value) for value in values)
        return rf"regexp_replace({name}, '\.0$', '')" if is_float else name
    # A cast to a whole number would round; text is checked row by row instead.
    return name


def _kinds(column: Column, name: str, values: Sequence[str]) -> str:
    """Returns SQL that translates the values that the contract does not have."""
    others = [value for value in values if value not in (column.allowed or ())]
    cases = " ".join(f"WHEN {literal(one)} THEN '{UNKNOWN}'" for one in others)
    return f"CASE {name} {cases} ELSE {name} END" if cases else name


# A pattern of all first values, and the SQL for the instant, with {} for the column.
_INSTANTS = (
    (r"\d{13}", "make_timestamptz(1000 * CAST({} AS BIGINT))"),
    (r"\d{10}", "make_timestamptz(1000000 * CAST({} AS BIGINT))"),
    (r"\d{8}", "strptime({}, '%Y%m%d')"),
    (r"\d{1,4}", "TIMESTAMP '???-01-01' + to_days(CAST({} AS INTEGER))"),
    (r"\d{1,2}/\d{1,2}/\d{4}", "strptime({}, '%d/%m/%Y')"),
    (r"\d{1,2}/\d{1,2}/\d{4} \d{1,2}:\d{2}", "strptime({}, '%d/%m/%Y %H:%M')"),
    (r"\d{1,2}\.\d{1,2}\.\d{4}", "strptime({}, '%d.%m.%Y')"),
    (r".*([Zz]|[+-]\d{2}(:?\d{2})?|UTC)", "CAST({} AS TIMESTAMPTZ)"),
    (r".*", "CAST({} AS TIMESTAMP)"),
)


def _instant(name: str, values: Sequence[str]) -> str:
    fitting = (
        sql
        for pattern, sql in _INSTANTS
        if values and all(re.fullmatch(pattern, value) for value in values)
    )
    return next(fitting, "CAST({} AS TIMESTAMP)").format(name)
