#!lua flags=allow-oom
-- An empty stream holds nothing: counters that say otherwise (a restored dump) are dropped.
-- KEYS: stream, depth. Returns how many were wrong
if redis.call('XLEN', KEYS[1]) > 0 then return 0 end
local fixed = 0
for i, field in ipairs(redis.call('HGETALL', KEYS[2])) do
  if i % 2 == 1 and (field == 'e' or field == 'b' or string.sub(field, 1, 2) == 'e:') and redis.call('HGET', KEYS[2], field) ~= '0' then
    redis.call('HDEL', KEYS[2], field)
    fixed = fixed + 1
  end
end
return fixed
