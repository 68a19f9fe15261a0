#!lua flags=allow-oom
-- Delete entries that a person took out of the queue. Like an ack, but nothing was drained: neither rate nor progress change.
-- KEYS: stream, depth, crashes, killers
-- ARGV: group, ids ...
-- Returns {entries, events} that this call deleted
local deleted, events = 0, 0
for i = 2, #ARGV do
  local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  redis.pcall('XACK', KEYS[1], ARGV[1], ARGV[i]) -- no group yet: nothing was ever claimed
  if entry and redis.call('XDEL', KEYS[1], ARGV[i]) == 1 then
    local project, n, size, hour = entry[2][4], tonumber(entry[2][6]), tonumber(entry[2][8]), math.floor(tonumber(entry[2][10]) / 3600000)
    redis.call('HINCRBY', KEYS[2], 'n', -1)
    redis.call('HINCRBY', KEYS[2], 'e', -n)
    redis.call('HINCRBY', KEYS[2], 'b', -size)
    for _, field in ipairs({'e:' .. project, 'q:' .. project .. ':' .. string.format('%d', hour)}) do
      if redis.call('HINCRBY', KEYS[2], field, -n) <= 0 then redis.call('HDEL', KEYS[2], field) end
    end
    deleted, events = deleted + 1, events + n
  end
  redis.call('HDEL', KEYS[3], ARGV[i])
  redis.call('HDEL', KEYS[4], ARGV[i])
end
return {deleted, events}
