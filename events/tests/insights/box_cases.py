# ruff: noqa: E501  SQL is told apart best on a line of its own
"""Attempts to get out of the SQL box, and SQL that is meant to be heavy. `{own}`, `{other}`, `{secret}`, `{new}` are paths."""

# Each must be refused by the first wall.
ATTEMPTS = """
select * from read_text('{secret}')
select * from read_blob('{secret}')
select * from read_csv('{secret}')
select * from read_csv_auto('{secret}', header=false)
select * from read_json('{secret}')
select * from read_ndjson_objects('{secret}')
select * from '{secret}'
select * from "{secret}"
select * from '{other}'
select * from "{other}"
select * from read_parquet('{other}')
select * from parquet_scan('{other}')
select * from READ_PARQUET(['{own}', '{other}'])
select * from "read_parquet"('{other}')
select * from main.read_parquet('{other}')
select * from system.main.read_parquet('{other}')
select * from read_parquet('{own}/../../project=2/a.parquet')
select * from read_parquet('file://{other}')
select * from read_parquet('{glob}')
select * from parquet_metadata('{other}')
select * from parquet_schema('{other}')
select * from parquet_kv_metadata('{other}')
select * from parquet_file_metadata('{own}')
select * from parquet_bloom_probe('{other}', 'name', 'x')
select * from glob('{glob}')
select * from glob('/proc/self/fd/*')
select * from read_text('/proc/self/environ')
select * from read_text('/proc/self/maps')
select * from read_text('/proc/1/environ')
select * from read_text('/proc/self/root{secret}')
select * from read_text('/proc/self/cwd/manage.py')
select * from read_text('/etc/passwd')
select * from read_text('/dev/fd/0')
select * from sniff_csv('{secret}')
select * from read_duckdb('{secret}')
select * from read_parquet('/proc/self/fd/3')
select * from 'http://127.0.0.1:1/x.parquet'
select * from read_csv('https://127.0.0.1:1/x.csv')
select * from read_parquet('s3://bucket/x.parquet')
select * from read_parquet('hf://datasets/x/y.parquet')
select content from (select * from read_text('{secret}'))
select (select content from read_text('{secret}'))
select * from events where exists (select 1 from read_text('{secret}'))
select * from events, lateral (select content from read_text('{secret}'))
select name, (from read_text('{secret}') select content) from events
with x as (select * from read_text('{secret}')) select * from x
with events as (select * from read_text('{secret}')) select * from events
with recursive r as (select content c from read_text('{secret}') union all select c from r where false) select * from r
select 1 union all select content from read_text('{secret}')
select 1 except (select content from read_text('{secret}'))
select list_transform([1], lambda x: (select content from read_text('{secret}')))
select [content for content in (select list(content) from read_text('{secret}'))]
select case when true then (select content from read_text('{secret}')) end
select count(*) filter (where exists (from read_text('{secret}'))) from events
select max(name) over (order by (select content from read_text('{secret}'))) from events
select * from events order by (select content from read_text('{secret}'))
select * from events limit (select length(content) from read_text('{secret}'))
select * from events qualify (select content from read_text('{secret}')) is not null
select * from events join read_text('{secret}') on true
select * from (values ((select content from read_text('{secret}')))) t(x)
select * from range((select length(content) from read_text('{secret}')))
/* */ select/**/*/**/from/**/read_text/**/('{secret}')
-- comment
select * from \u0072ead_text('{secret}')
select * from ｒｅａｄ_ｔｅｘｔ('{secret}')
select * from U&"read_text"('{secret}')
select * from query('select content from read_text(''{secret}'')')
select * from query_table('{other}')
select * from query_table(['events', '{other}'])
select * from json_execute_serialized_sql(json_serialize_sql('select 1'))
select json_serialize_plan('select * from events')
select json_deserialize_sql(json_serialize_sql('select 1'))
select getenv('HOME')
select current_setting('allowed_paths')
select current_setting('temp_directory')
select getvariable('x')
select * from duckdb_settings()
select * from duckdb_views()
select * from duckdb_views
select * from duckdb_functions()
select * from duckdb_databases()
select * from duckdb_secrets()
select * from duckdb_external_file_cache()
select * from duckdb_logs
select * from duckdb_temporary_files()
select * from information_schema.tables
select * from pg_catalog.pg_class
select * from sqlite_master
select * from main.events
select * from memory.main.events
select * from memory.events
select * from temp.events
select * from fresh
with a as (select * from fresh), fresh as (select 1) select * from a
with a as (select * from duckdb_views), duckdb_views as (select 1) select * from a
select * from (with duckdb_settings as (select 1) select 1), duckdb_settings
select * from pragma_table_info('events')
select * from pragma_database_size()
select * from which_secret('x', 's3')
select * from arrow_scan(1::pointer, 1::pointer, 1::pointer)
select * from arrow_scan_dumb(140000000000000::pointer, 1::pointer, 1::pointer)
select * from pandas_scan(1::pointer)
select * from python_map_function(1)
select * from seq_scan('events')
select 1::pointer
select nextval('s')
select write_log('x')
select error('x')
select sleep_ms(100000)
select pg_sleep(1000)
select setseed(0.5)
select finalize('x'::blob)
select to_aggregate_state(1)
select apply([1], 'x')
select invoke('x', 1)
select stats(name) from events
select pg_get_viewdef(1)
select system.main.lower('X')
select main.lower('X')
select * from events tablesample reservoir(10 rows) repeatable (1), duckdb_memory()
select * from duckdb_memory() tablesample 10%
copy (select 1 a) to '{own}' (format parquet, use_tmp_file false)
copy (select 1 a) to '{fd}' (format parquet, use_tmp_file false)
copy (select 1 a) to '{fd}' (format csv, use_tmp_file false, overwrite_or_ignore true)
copy (select 1 a) to '{own}' (format parquet)
copy (select 1 a) to '{new}' (format csv)
copy (select * from events) to '{new}' (format parquet, partition_by (name))
copy events from '{secret}'
copy (select 1) to '/dev/stdout'
export database '{new}'
import database '{new}'
attach '{new}' as x
attach ':memory:' as x
attach '{secret}' as x (read_only)
detach memory
use system
create table x as select 1
create temp table x as select * from events
create or replace view events as select * from read_parquet('{other}')
create macro m() as table select * from read_parquet('{other}')
create function f(x) as x
create secret s (type s3, key_id 'x', secret 'y')
create type t as enum ('x')
create sequence s
drop view events
alter view events rename to x
insert into fresh select * from fresh
update fresh set name = 'x'
delete from fresh
merge into fresh using fresh f on true when matched then delete
truncate fresh
set enable_external_access = true
set lock_configuration = false
set global allowed_paths = ['{other}']
set allowed_directories = ['/']
set temp_directory = '/tmp'
set memory_limit = '100GB'
set threads = 8
set file_search_path = '{secret}'
set variable x = 1
reset lock_configuration
pragma enable_profiling
pragma database_list
pragma threads=8
call pragma_database_size()
call enable_logging()
install httpfs
install '{new}'
load httpfs
load '{new}'
force install json
update extensions
prepare p as select * from read_text('{secret}')
execute p
deallocate p
explain select 1
explain analyze copy (select 1) to '{new}'
describe events
summarize events
show tables
show all tables
from (show tables)
from (describe select 1)
pivot events on name using count(*)
select * from (pivot events on name in ('x') using count(*))
unpivot (select 1 a, 2 b) on a, b
select $1
select $name
select ?
select 1; select 2
select 1; copy (select 1) to '{new}'
begin transaction
checkpoint
vacuum
analyze
select * from events at (version => 1), duckdb_views
values (getenv('HOME'))
from events select current_setting('allowed_paths')
table duckdb_views
select * from test_all_types()
select * from repeat('x', 100)
""".strip().splitlines()

# Each is stopped by time, memory, rows or bytes; the words say what it is heavy on.
BOMBS = {
    "cross join of numbers": "select count(*) from range(1000000000) a, range(1000000000) b where a.range * b.range % 7 = 3",
    "cross join of events": "select count(*) from events a, events b, events c, events d where a.id * b.id % 7 = c.id * d.id % 11",
    "sum of a long range": "select sum(range) from range(1000000000000)",
    "list of a long range": "select range(1, 2000000000)",
    "sort of a long list": "select list_sort(range(200000000))[1]",
    "hashes in a long list": "select list_sort(list_transform(range(1, 60000000), lambda x: hash(x)))[1]",
    "array_agg of many": "select len(array_agg(range)) from range(1000000000)",
    "endless recursion": "with recursive r as (select 1 i union all select i + 1 from r) select count(*) from r",
    "recursion that doubles": "with recursive r as (select 1 i union all select i + x from r, (values (0), (1)) t(x)) select count(*) from r",
    "recursion of long texts": "with recursive r as (select 'ab' s union all select s || s from r) select max(length(s)) from r",
    "repeat": "select length(repeat('x', 2000000000))",
    "repeat of repeats": "select sum(length(repeat('x', 100000000) || range)) from range(1000)",
    "lpad": "select lpad('x', 2000000000, 'y')",
    "printf": "select printf('%2000000000d', 1)",
    "regexp over a long text": "select regexp_replace(repeat('ab', 30000000), '(a|ab)+c', 'b', 'g')",
    "regexp many times": "select count(*) from range(1000000000) where regexp_matches(range::varchar, '(1.*2.*3.*/4.*){{2}}')",
    "levenshtein": "select levenshtein(repeat('a', 60000), repeat('b', 60000))",
    "jaccard": "select sum(jaccard(range::varchar, 'abcdef')) from range(10000000000)",
    "sort of many": "select * from range(1000000000) order by hash(range) offset 999999990",
    "distinct of many": "select count(distinct range::varchar) from range(1000000000)",
    "group by many": "select hash(range), count(*) from range(1000000000) group by 1 order by 2 desc limit 1",
    "window over many": "select sum(x) from (select lag(range) over (partition by range % 10 order by hash(range)) x from range(100000000))",
    "quantile of many": "select quantile_cont(range, 0.5) from range(1000000000)",
    "many rows": "select * from range(100000000)",
    "many columns": "select " + ", ".join(f"repeat('x', 1000) c{i}" for i in range(400)) + " from range(1000)",
    "one large value": "select repeat('x', 50000000)",
    "unnest": "select count(*) from (select unnest(range(100000000)) from range(1000))",
    "generate_series of times": "select count(*) from generate_series(timestamp '1900-01-01', timestamp '2900-01-01', interval 1 second) a, range(1000000)",
    "map of many": "select map(range(30000000), range(30000000))",
    "string_agg": "select length(string_agg(repeat('x', 1000), ',')) from range(100000000)",
    "json of many": "select length(json_group_array(range)::varchar) from range(1000000000)",
    "factorials": "select sum(factorial((range % 30)::int)::double) from range(100000000000)",
    "deep nesting": "select " + "(" * 5_000 + "1" + ")" * 5_000,
    "long sum": "select " + "+".join(["1"] * 9_000),
    "bit masks": "select bit_count(repeat('1', 1500000000)::bit)",
    "base64": "select length(base64(repeat('x', 1000000000)::blob))",
}  # fmt: skip

# Real questions that must pass.
GOOD = [
    "select name, count(*) n from events group by 1 order by n desc limit 3 offset 1",
    "with a as (select name, count(*) n from events group by 1), b as (select max(n) m from a) select * from a, b",
    "with events as (select 1 x) select * from events",
    "with recursive r as (select 1 i union all select i + 1 from r where i < 10) select * from r",
    "select e.person, f.name from events e join events f using (person) limit 5",
    "select * from events e asof join (select * from events) x on e.person = x.person and e.occurred_at >= x.occurred_at limit 1",
    "select person, lag(name) over (partition by person order by occurred_at rows 3 preceding) from events qualify row_number() over () < 3",
    "from events select count(*) filter (where name = 'event_1')",
    "select properties->>'plan' p, properties->>'$.plan', json_extract(properties, '/plan') from events group by all limit 1",
    "select quantile_cont(id, [0.5, 0.99]), approx_count_distinct(person), median(id), arg_max(name, id) from events",
    "select date_trunc('day', occurred_at) d, count(distinct person) from events group by 1",
    "select time_bucket(interval '1 hour', occurred_at), strftime(occurred_at, '%H'), extract(year from occurred_at) from events limit 1",
    "select occurred_at at time zone 'Europe/Berlin', current_date, current_timestamp, now(), today() from events limit 1",
    "select date '2020-01-01' + interval 3 days, timestamptz '2020-01-01 00:00:00+00', age(timestamp '2020-01-01')",
    "select [1, 2][1], [1, 2][1:2], {'a': 1}.a, {'a': 1}['a'], map {'x': 1}, list_transform([1], lambda x: x + 1)",
    "select [x + 1 for x in [1, 2] if x > 1], 'a' in 'abc', 1 in (1, 2), 1 not in (select 1), exists (select 1)",
    "select case when 1 = 1 then 1 else 2 end, cast('1' as integer), try_cast('x' as date), 1::decimal(10, 2), nullif(1, 1), coalesce(null, 1)",
    "select 'a' like 'x', 'a' ilike 'x', 'a' similar to 'x', 'a' ~ 'x', 'a' glob 'x', not true, 1 is distinct from 2, 2 between 1 and 3",
    "select substring('abc' from 1 for 2), position('a' in 'ab'), trim(both from ' a '), 'a' || 'b', upper('a'), regexp_extract('ab', '(b)', 1)",
    "select * exclude (context) replace (1 as id), columns('na.*') from events limit 1",
    "select name, user_id, count(*), grouping(name) from events group by rollup (name, user_id) limit 3",
    "select distinct on (name) name, id from events order by name, id limit 3",
    "select * from range(3) r(i) left join lateral (select i + 1) on true",
    "select unnest([1, 2]), generate_series from generate_series(1, 2)",
    "select 1 union select 2 intersect select 3 except select 4 order by 1",
    "select array(select 1), (select 1), 1 = any (select 1), 1 > all (select 1), string_agg(name, ',' order by id) from events",
    "select name collate nocase from events order by name nulls last limit 10%",
    "select a::struct(x integer)[], 1::hugeint, '\\x00'::blob, 1.5::float4, '[1]'::json, uuid() from (select [] a)",
    "select count(*) from events tablesample 10%",
]
