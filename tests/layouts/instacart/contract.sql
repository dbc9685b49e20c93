-- Instacart Market Basket Analysis: orders without dates, amounts and coupons. An order has a day of
-- the week, an hour, and the days since the one before (at most 30). So each user's first order is
-- put into one made-up week that starts on a Saturday, which is day 0.
SET VARIABLE timezone = 'America/New_York';

CREATE MACRO first_day() AS TIMESTAMP '2017-01-07';

CREATE VIEW dated AS
SELECT *, first_day() + to_hours(CAST(order_hour_of_day AS INTEGER)) + to_days(CAST(
        first(CAST(order_dow AS INTEGER)) OVER orders
        + sum(coalesce(CAST(days_since_prior_order AS DECIMAL(9, 1)), 0)) OVER orders
    AS INTEGER)) AS moment
FROM 'orders.csv'
WINDOW orders AS (PARTITION BY user_id ORDER BY CAST(order_number AS INTEGER));

CREATE VIEW users AS
SELECT DISTINCT user_id, first_day() - INTERVAL 1 DAY AS event_timestamp FROM 'orders.csv';

CREATE VIEW products AS
SELECT product_id, first_day() - INTERVAL 1 DAY AS event_timestamp, product_name AS name,
    department, aisle AS category
FROM 'products.csv' JOIN 'aisles.csv' USING (aisle_id) JOIN 'departments.csv' USING (department_id);

-- An order has a product once. Orders of eval_set 'test' are published without their products.
-- One unit of each and a price of 1.00 (100 minor units) are made up, so that spend counts units.
CREATE VIEW lines AS
FROM 'order_products__prior.csv' UNION ALL FROM 'order_products__train.csv';

CREATE VIEW events AS
SELECT order_id || ':' || product_id AS event_id, moment AS event_timestamp, user_id,
    'purchase' AS event_type, product_id, order_id AS basket_id, 1 AS quantity, 100 AS amount
FROM lines JOIN dated USING (order_id);

-- The data has no coupons. This plan is made up: for each department one coupon, open to all.
CREATE VIEW coupons AS
SELECT 'd' || department_id AS coupon_id, first_day() AS event_timestamp,
    'D' || department_id AS coupon_code, 'winter' AS campaign_id, 'open' AS audience,
    'percent' AS discount_type, 10 AS discount_value, first_day() + INTERVAL 7 DAY AS valid_from,
    first_day() + INTERVAL 365 DAY AS valid_to
FROM 'departments.csv';

CREATE VIEW coupon_products AS
SELECT 'd' || department_id AS coupon_id, product_id, first_day() AS event_timestamp
FROM 'products.csv';
