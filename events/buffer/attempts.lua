#!lua flags=allow-oom
-- Keep a failed attempt with its slot: the first and the latest 19, each with its number. Kept at maxmemory too.
-- KEYS: the slot's attempts
-- ARGV: now (ISO 8601), first and last id of the batch ('': it failed before it had one), sqlstate, error
local n = redis.call('HINCRBY', KEYS[1], 'n', 1)
redis.call('HSET', KEYS[1], n,
  cjson.encode({n = n, at = ARGV[1], first = ARGV[2], last = ARGV[3], sqlstate = ARGV[4], error = ARGV[5]}))
if n > 20 then redis.call('HDEL', KEYS[1], n - 19) end
