-- UCI Online Retail II: one file, one row for each line of an invoice.
-- Invoices that start with C take goods back or give a discount, those with A adjust debts.
SET VARIABLE timezone = 'Europe/London';
SET VARIABLE money = 'major';

-- A line has no id. Its number in the file is one, as long as the file only grows at its end.
CREATE VIEW lines AS
SELECT row_number() OVER () AS line, "Invoice" AS invoice, "StockCode" AS product_id,
    "Description" AS description, CAST("InvoiceDate" AS TIMESTAMP) AS moment,
    CAST("Quantity" AS BIGINT) AS quantity, CAST("Price" AS DECIMAL(18, 4)) AS price,
    -- Ids were read as floats when the file was written: 19001.0.
    regexp_replace("Customer ID", '\.0$', '') AS user_id
FROM 'online_retail_II.csv';

-- A quarter of the lines has no customer. They belong to no history, and are left out.
CREATE VIEW sales AS
SELECT *, invoice || '-' || line AS event_id FROM lines
WHERE user_id IS NOT NULL AND quantity > 0 AND regexp_full_match(invoice, '\d+');

-- Lines of one customer and product that come back at one instant count together.
CREATE VIEW returns AS
SELECT user_id, product_id, moment, -sum(quantity) AS quantity FROM lines
WHERE user_id IS NOT NULL AND quantity < 0 AND invoice LIKE 'C%' GROUP BY ALL;

-- Sales and returns in order, each with the units bought and returned up to it.
CREATE VIEW moves AS
SELECT *, coalesce(sum(quantity) FILTER (is_sale) OVER moved, 0) AS bought,
    coalesce(sum(quantity) FILTER (NOT is_sale) OVER moved, 0) AS returned
FROM (
    SELECT user_id, product_id, moment, quantity, event_id, line, true AS is_sale FROM sales
    UNION ALL
    SELECT user_id, product_id, moment, quantity, NULL, NULL, false FROM returns)
WINDOW moved AS (PARTITION BY user_id, product_id ORDER BY moment, is_sale, line);

-- Units that come back without a sale before them were bought before the file starts, or are a
-- discount. They change nothing: ``back`` counts the units returned of sales in the file.
CREATE VIEW matched AS
SELECT *, lag(back, 1, 0) OVER moved AS back_before FROM (
    SELECT *, returned - greatest(0, max(returned - bought) OVER moved) AS back FROM moves
    WINDOW moved AS (PARTITION BY user_id, product_id ORDER BY moment, is_sale, line))
WINDOW moved AS (PARTITION BY user_id, product_id ORDER BY moment, is_sale, line);

-- Units of each sale that came back so far, at the instant of each return that reaches it. Those
-- bought first come back first.
CREATE VIEW came_back AS
SELECT s.event_id, r.moment AS learned, least(r.back, s.bought) - (s.bought - s.quantity) AS units
FROM matched s JOIN matched r USING (user_id, product_id)
WHERE s.is_sale AND NOT r.is_sale AND s.moment < r.moment
    AND r.back > s.bought - s.quantity AND r.back_before < s.bought AND r.back > r.back_before;

CREATE VIEW users AS
SELECT DISTINCT user_id, DATE '2009-12-01' AS event_timestamp FROM lines WHERE user_id IS NOT NULL;

CREATE VIEW products AS
SELECT product_id, DATE '2009-12-01' AS event_timestamp, max(description) AS name
FROM lines GROUP BY product_id;

-- A return is a correction of its sale: the same id, learned later, with what is left.
CREATE VIEW events AS
SELECT event_id, moment AS event_timestamp, moment AS created_timestamp, user_id,
    'purchase' AS event_type, product_id, invoice AS basket_id, quantity,
    round(quantity * price, 2) AS amount
FROM sales
UNION ALL
SELECT event_id, moment, learned, user_id, 'purchase', product_id, invoice, quantity - units,
    round((quantity - units) * price, 2)
FROM sales JOIN came_back USING (event_id);

-- The data has no coupons. This plan is made up: ten percent off frames and off mugs, for all.
CREATE VIEW coupons AS
SELECT coupon_id, TIMESTAMP '2010-02-28' AS event_timestamp, upper(coupon_id) AS coupon_code,
    'spring' AS campaign_id, 'open' AS audience, 'percent' AS discount_type, 10 AS discount_value,
    TIMESTAMP '2010-03-01' AS valid_from, TIMESTAMP '2010-05-01' AS valid_to
FROM (VALUES ('frames'), ('mugs')) AS plan(coupon_id);

CREATE VIEW coupon_products AS
SELECT * FROM (VALUES ('frames', '90001A'), ('mugs', '90002')) AS scope(coupon_id, product_id)
CROSS JOIN (SELECT TIMESTAMP '2010-02-28' AS event_timestamp);
