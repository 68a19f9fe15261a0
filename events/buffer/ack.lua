#!lua flags=allow-oom
-- Delete stored entries; only the call that really deletes one subtracts it, so counters end at 0 whoever comes twice.
-- KEYS: stream, depth, progress    ARGV: group, now (epoch ms), ids ...
-- Returns how many this call deleted
local deleted, events = 0, 0
for i = 3, #ARGV do
  local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  if entry and redis.call('XDEL', KEYS[1], ARGV[i]) == 1 then
    local project, n, size = entry[2][4], tonumber(entry[2][6]), tonumber(entry[2][8])
    redis.call('HINCRBY', KEYS[2], 'e', -n)
    redis.call('HINCRBY', KEYS[2], 'b', -size)
    if redis.call('HINCRBY', KEYS[2], 'e:' .. project, -n) <= 0 then redis.call('HDEL', KEYS[2], 'e:' .. project) end
    deleted, events = deleted + 1, events + n
  end
end
redis.call('HINCRBY', KEYS[2], 'drained', events)
redis.call('SET', KEYS[3], ARGV[2])
return deleted
