"""The tables and SQL statements of the ledger in SQLite.

Uses of a coupon and the spend of a campaign are running sums. Each is stored with the number of the
change that made it, so that a process reads only the sums that changed since its last read.
"""

LAYOUT = 3
"""The version of the tables; a file of an earlier one gets the missing tables."""

CREATE = f"""
begin immediate;
create table if not exists redemptions (
    redemption_id text primary key, user_id text not null, coupon_id text not null,
    campaign_id text not null, at integer not null, amount integer not null
) without rowid;
create index if not exists redemptions_of_user on redemptions (user_id);
create table if not exists reservations (
    user_id text, coupon_id text, campaign_id text not null, amount integer not null,
    expires integer not null, primary key (user_id, coupon_id)
) without rowid;
create index if not exists reservations_by_end on reservations (expires);
create table if not exists taken_back (
    redemption_id text primary key, user_id text not null, coupon_id text not null,
    keeps_use integer not null
) without rowid;
create index if not exists taken_back_of_user on taken_back (user_id);
create table if not exists impressions (
    user_id text not null, coupon_id text not null, at integer not null, forget integer not null);
create index if not exists impressions_of_user on impressions (user_id, at);
create index if not exists impressions_by_end on impressions (forget);
create table if not exists uses (
    coupon_id text primary key, count integer not null, change integer not null) without rowid;
create index if not exists uses_by_change on uses (change);
create table if not exists spent (
    campaign_id text primary key, amount integer not null, change integer not null) without rowid;
create index if not exists spent_by_change on spent (change);
create table if not exists changes (number integer not null);
insert into changes select 0 where not exists (select * from changes);
create table if not exists identity (name text not null);
insert into identity select hex(randomblob(16)) where not exists (select * from identity);
pragma user_version = {LAYOUT};
commit;
"""
EXPIRED = "select 1 from reservations where expires <= ? limit 1"
SWEEP = "delete from reservations where expires <= ? returning coupon_id, campaign_id, amount"
CHANGED_SUMS = """
select 0, coupon_id, count, change from uses where change > ?1
union all select 1, campaign_id, amount, change from spent where change > ?1"""
OF_USER = """
select 0, coupon_id, at, campaign_id, amount from redemptions where user_id = ?1 and at < ?3
union all select 1, coupon_id, 0, campaign_id, amount from reservations where user_id = ?4
union all select 2, coupon_id, at, '', 0 from impressions
    where user_id = ?4 and at > ?2 and at <= ?3
union all select 3, coupon_id, 0, '', 0 from taken_back where user_id = ?1 and not keeps_use"""
RESERVATION = 1
"""The part of OF_USER that has reservations.

0 has redemptions, 2 impressions, 3 redemptions that were taken back.
"""

NEXT_CHANGE = "update changes set number = number + 1 returning number"
ADD_USES = """
insert into uses values (?, ?, ?)
on conflict do update set count = count + excluded.count, change = excluded.change"""
ADD_SPENT = """
insert into spent values (?, ?, ?)
on conflict do update set amount = amount + excluded.amount, change = excluded.change"""
USES = "select coupon_id, count from uses where coupon_id in (select value from json_each(?))"
SPENT = (
    "select campaign_id, amount from spent where campaign_id in (select value from json_each(?))"
)
RESERVE = "insert or replace into reservations values (?, ?, ?, ?, ?)"
RELEASE = """
delete from reservations where user_id in (?, ?) and coupon_id = ?
returning coupon_id, campaign_id, amount"""
ADD_IMPRESSION = "insert into impressions values (?, ?, ?, ?)"
FORGET_IMPRESSIONS = "delete from impressions where forget <= ?"
STORED_REDEMPTION = """
select coupon_id, campaign_id, amount, user_id, at from redemptions where redemption_id = ?"""
TAKEN_BACK = "select keeps_use from taken_back where redemption_id = ?"
TAKE_BACK = "insert or replace into taken_back values (?, ?, ?, ?)"
NAME_TAKEN_BACK = "update taken_back set user_id = ?, coupon_id = ? where redemption_id = ?"
GIVE_AGAIN = "delete from taken_back where redemption_id = ?"
REMOVE_REDEMPTION = "delete from redemptions where redemption_id = ?"
REMOVE_AMOUNT = "update redemptions set amount = 0 where redemption_id = ?"
IDENTITY = "select name from identity"
ENTER_REDEMPTION = "insert or replace into redemptions values (?, ?, ?, ?, ?, ?)"
