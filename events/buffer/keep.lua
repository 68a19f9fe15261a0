#!lua flags=allow-oom
-- A few bytes that operators need kept at maxmemory too. KEYS: key. ARGV: value, '1' if one that is there goes first.
-- Returns what is kept
if ARGV[2] ~= '1' or redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SET', KEYS[1], ARGV[1]) end
return redis.call('GET', KEYS[1])
