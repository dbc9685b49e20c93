-- X5 RetailHero: purchases of club members, in compressed files. Times are those of Moscow.
SET VARIABLE timezone = 'Europe/Moscow';
SET VARIABLE money = 'major';

-- A receipt may have a product on several lines. A line has no id: its number in the file is one.
CREATE VIEW lines AS
SELECT *, row_number() OVER () AS line, CAST(transaction_datetime AS TIMESTAMP) AS moment
FROM 'purchases.csv.gz';

-- A card is known from its issue on. An age such as -7 or 1852 is a typing error.
CREATE VIEW users AS
SELECT client_id AS user_id, CAST(first_issue_date AS TIMESTAMP) AS event_timestamp,
    CASE WHEN TRY_CAST(age AS INTEGER) BETWEEN 14 AND 100 THEN age END AS age_min
FROM 'clients.csv.gz';

-- Names are hashes. Products have no date: they are known before the first purchase.
CREATE VIEW products AS
SELECT product_id, TIMESTAMP '2017-01-01' AS event_timestamp, level_1 AS department,
    level_2 AS category, brand_id AS brand, is_own_trademark = '1' AS is_private_label
FROM 'products.csv.gz';

-- trn_sum_from_iss is taken as the amount of a line. trn_sum_from_red is mostly empty, and not used.
CREATE VIEW events AS
SELECT transaction_id || ':' || line AS event_id, moment AS event_timestamp,
    client_id AS user_id, 'purchase' AS event_type, product_id, transaction_id AS basket_id,
    product_quantity AS quantity, trn_sum_from_iss AS amount
FROM lines;

-- The treatment was one text message in the week after the purchases: a campaign of one coupon.
-- The data does not state what was offered; the value, the days and the department are made up.
CREATE VIEW coupons AS
SELECT 'sms' AS coupon_id, TIMESTAMP '2019-01-14' AS event_timestamp, 'SMS' AS coupon_code,
    'sms' AS campaign_id, 'targeted' AS audience, 'percent' AS discount_type,
    10 AS discount_value, TIMESTAMP '2019-01-15' AS valid_from,
    TIMESTAMP '2019-03-20' AS valid_to, true AS covers_whole_cart;

CREATE VIEW exposures AS
SELECT 'sms:' || client_id AS exposure_id, TIMESTAMP '2019-01-15' AS event_timestamp,
    client_id AS user_id, 'sms' AS campaign_id
FROM 'uplift_train.csv.gz' WHERE treatment_flg = '1';
