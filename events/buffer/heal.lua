#!lua flags=allow-oom
-- Counters that disagree with the stream (a restored dump, a hand in the queue) are counted anew. The number of entries tells.
-- KEYS: stream, depth. Returns 1 if they were wrong
local length = redis.call('XLEN', KEYS[1])
local counted = tonumber(redis.call('HGET', KEYS[2], 'n') or 0)
if length == counted and (length > 0 or tonumber(redis.call('HGET', KEYS[2], 'e') or 0) == 0) then return 0 end
for i, field in ipairs(redis.call('HKEYS', KEYS[2])) do
  if field == 'n' or field == 'e' or field == 'b' or string.sub(field, 1, 2) == 'e:' or string.sub(field, 1, 2) == 'q:' then
    redis.call('HDEL', KEYS[2], field)
  end
end
local from = '-'
while true do
  local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 100)
  for _, entry in ipairs(entries) do
    local project, n, size = entry[2][4], tonumber(entry[2][6]), tonumber(entry[2][8])
    local hour = string.format('%d', math.floor(tonumber(entry[2][10]) / 3600000))
    redis.call('HINCRBY', KEYS[2], 'n', 1)
    redis.call('HINCRBY', KEYS[2], 'e', n)
    redis.call('HINCRBY', KEYS[2], 'b', size)
    redis.call('HINCRBY', KEYS[2], 'e:' .. project, n)
    redis.call('HINCRBY', KEYS[2], 'q:' .. project .. ':' .. hour, n)
    from = '(' .. entry[1]
  end
  if #entries < 100 then return 1 end
end
