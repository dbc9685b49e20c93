-- dunnhumby, The Complete Journey, in its original files. Days are counted from 1, weeks begin on
-- day 1. The first day is unknown: 2004-03-23 is made up, and so is the zone.
SET VARIABLE timezone = 'America/New_York';
SET VARIABLE money = 'major';

CREATE MACRO midnight(day) AS TIMESTAMP '2004-03-22' + to_days(CAST(day AS INTEGER));

-- A coupon is one code in one campaign, since codes return in several campaigns.
CREATE MACRO coupon(campaign, upc) AS campaign || ':' || upc;

-- Times such as 40 are 00:40, and 745 is 07:45.
CREATE VIEW lines AS
SELECT *, midnight("DAY") + to_minutes(CAST(CAST("TRANS_TIME" AS INTEGER) // 100 * 60
        + CAST("TRANS_TIME" AS INTEGER) % 100 AS BIGINT)) AS moment
FROM 'transaction_data.csv';

-- Descriptions have no date: they are known before the first day.
CREATE VIEW users AS
SELECT household_key AS user_id, midnight(0) AS event_timestamp,
    regexp_extract(max("AGE_DESC"), '\d+') AS age_min,
    CASE max("INCOME_DESC") WHEN 'Under 15K' THEN 0
        ELSE 1000 * TRY_CAST(regexp_extract(max("INCOME_DESC"), '\d+') AS BIGINT) END AS income_min,
    rtrim(max("HOUSEHOLD_SIZE_DESC"), '+') AS household_size,
    CASE WHEN max("KID_CATEGORY_DESC") = 'None/Unknown' THEN NULL
        ELSE rtrim(max("KID_CATEGORY_DESC"), '+') END AS kids_count,
    CASE max("HOMEOWNER_DESC") WHEN 'Homeowner' THEN true WHEN 'Renter' THEN false
        END AS is_homeowner,
    CASE max("MARITAL_STATUS_CODE") WHEN 'A' THEN true WHEN 'B' THEN false END AS is_married
FROM (
    SELECT household_key FROM 'transaction_data.csv'
    UNION SELECT household_key FROM 'campaign_table.csv'
    UNION SELECT household_key FROM 'coupon_redempt.csv')
LEFT JOIN 'hh_demographic.csv' USING (household_key)
GROUP BY household_key;

-- Fields of one blank are empty.
CREATE VIEW products AS
SELECT "PRODUCT_ID" AS product_id, midnight(0) AS event_timestamp,
    nullif(concat_ws(', ', nullif(trim("SUB_COMMODITY_DESC"), ''),
        nullif(trim("CURR_SIZE_OF_PRODUCT"), '')), '') AS name,
    nullif(trim("DEPARTMENT"), '') AS department, nullif(trim("COMMODITY_DESC"), '') AS category,
    "MANUFACTURER" AS brand, nullif(trim("BRAND"), '') = 'Private' AS is_private_label
FROM 'product.csv';

-- END_DAY is the last day. Campaigns are announced one day before they start.
CREATE VIEW plans AS
SELECT "CAMPAIGN" AS campaign_id, "DESCRIPTION" AS campaign_type,
    midnight("START_DAY") AS valid_from, midnight("END_DAY") + INTERVAL 1 DAY AS valid_to,
    midnight("START_DAY") - INTERVAL 1 DAY AS announced
FROM 'campaign_desc.csv';

CREATE VIEW scopes AS
SELECT DISTINCT coupon("CAMPAIGN", "COUPON_UPC") AS coupon_id, "COUPON_UPC" AS coupon_code,
    "PRODUCT_ID" AS product_id, plans.*
FROM 'coupon.csv' AS c JOIN plans ON c."CAMPAIGN" = plans.campaign_id;

CREATE VIEW coupons AS
SELECT DISTINCT coupon_id, announced AS event_timestamp, coupon_code, campaign_id, campaign_type,
    'targeted' AS audience, valid_from, valid_to
FROM scopes;

CREATE VIEW coupon_products AS
SELECT coupon_id, product_id, announced AS event_timestamp FROM scopes;

CREATE VIEW exposures AS
SELECT campaign_id || ':' || household_key AS exposure_id, valid_from AS event_timestamp,
    household_key AS user_id, campaign_id
FROM 'campaign_table.csv' AS c JOIN plans ON c."CAMPAIGN" = plans.campaign_id;

-- A basket has a product once. Fuel is sold in thousandths of a gallon, which stay the quantity.
-- Discounts are negative; an amount of 5.55e-17 is zero.
CREATE VIEW events AS
SELECT "BASKET_ID" || ':' || "PRODUCT_ID" AS event_id, moment AS event_timestamp,
    household_key AS user_id, 'purchase' AS event_type, "PRODUCT_ID" AS product_id,
    "BASKET_ID" AS basket_id, "QUANTITY" AS quantity,
    CAST("SALES_VALUE" AS DECIMAL(18, 2)) AS amount,
    -CAST("RETAIL_DISC" AS DECIMAL(18, 2)) AS retail_discount,
    -CAST("COUPON_DISC" AS DECIMAL(18, 2)) AS coupon_discount,
    -CAST("COUPON_MATCH_DISC" AS DECIMAL(18, 2)) AS coupon_match_discount
FROM lines;

-- A redemption has a day only. It happened by the end of that day, and is learned then.
CREATE VIEW redemptions AS
SELECT concat_ws(':', "CAMPAIGN", "COUPON_UPC", household_key, "DAY") AS redemption_id,
    midnight("DAY") + INTERVAL 1 DAY - INTERVAL 1 MICROSECOND AS event_timestamp,
    midnight("DAY") + INTERVAL 1 DAY AS created_timestamp, household_key AS user_id,
    coupon("CAMPAIGN", "COUPON_UPC") AS coupon_id
FROM 'coupon_redempt.csv';
