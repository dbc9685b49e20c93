-- RetailRocket: clicks of a shop, without prices and coupons. Times are milliseconds since 1970.
CREATE MACRO instant(ms) AS make_timestamptz(1000 * CAST(ms AS BIGINT));

-- The file repeats some rows exactly; one of them counts.
CREATE VIEW clicks AS
SELECT DISTINCT *, instant("timestamp") AS moment FROM 'events.csv';

-- A visitor and an item are known from just before their first appearance.
CREATE VIEW users AS
SELECT visitorid AS user_id, min(moment) - INTERVAL 1 MICROSECOND AS event_timestamp
FROM clicks GROUP BY visitorid;

-- Of the properties only the category has a name. Each of its values holds from its own time on,
-- the first one also before, so that no event precedes the description of its item.
CREATE VIEW categories AS
SELECT itemid, instant("timestamp") AS moment, "value" AS categoryid
FROM 'item_properties_part*.csv' WHERE property = 'categoryid';

CREATE VIEW seen AS
SELECT itemid, min(moment) - INTERVAL 1 MICROSECOND AS first_seen FROM (
    SELECT itemid, moment FROM clicks UNION ALL SELECT itemid, moment FROM categories)
GROUP BY itemid;

CREATE VIEW products AS
SELECT seen.itemid AS product_id,
    if(c.moment IS NULL OR row_number() OVER (PARTITION BY seen.itemid ORDER BY c.moment) = 1,
        seen.first_seen, c.moment) AS event_timestamp,
    coalesce(tree.parentid, c.categoryid) AS department, c.categoryid AS category
FROM seen LEFT JOIN categories AS c USING (itemid)
LEFT JOIN 'category_tree.csv' AS tree ON tree.categoryid = c.categoryid;

-- A transaction is a basket, taken as one unit of each item. A price of 1.00 (100 minor units) is
-- made up for each, so that spend counts units.
CREATE VIEW events AS
SELECT concat_ws(':', "timestamp", visitorid, "event", itemid, transactionid) AS event_id,
    moment AS event_timestamp, visitorid AS user_id,
    CASE "event" WHEN 'addtocart' THEN 'cart' WHEN 'transaction' THEN 'purchase' ELSE "event"
        END AS event_type,
    itemid AS product_id, transactionid AS basket_id,
    CASE "event" WHEN 'transaction' THEN 1 END AS quantity,
    CASE "event" WHEN 'transaction' THEN 100 END AS amount
FROM clicks;

-- The data has no coupons. This plan is made up: for each department one coupon, open to all.
CREATE VIEW departments AS
SELECT DISTINCT department, 'd' || department AS coupon_id FROM products
WHERE department IS NOT NULL;

CREATE VIEW coupons AS
SELECT coupon_id, TIMESTAMPTZ '2015-05-10 00:00:00+00' AS event_timestamp,
    coupon_id AS coupon_code, 'june' AS campaign_id, 'open' AS audience,
    'percent' AS discount_type, 10 AS discount_value,
    TIMESTAMPTZ '2015-06-01 00:00:00+00' AS valid_from,
    TIMESTAMPTZ '2015-07-01 00:00:00+00' AS valid_to
FROM departments;

CREATE VIEW coupon_products AS
SELECT DISTINCT coupon_id, product_id, TIMESTAMPTZ '2015-05-10 00:00:00+00' AS event_timestamp
FROM products JOIN departments USING (department);
