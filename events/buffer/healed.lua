#!lua flags=allow-oom
-- Note that a slot's failure is over. One that the tick has copied and forgotten meanwhile must not come back as half a record.
-- Attempts at what is stored now are forgotten; those at the rest of a batch that was halved stay.
-- KEYS: the slot's failure, its attempts. ARGV: now (epoch seconds), last id that is stored
if redis.call('HEXISTS', KEYS[1], 'first_at') == 1 then
  redis.call('HSET', KEYS[1], 'healed_at', ARGV[1])
end

local ms, seq = string.match(ARGV[2], '^(%d+)-(%d+)$')
local function is_after(id) -- an attempt without a batch has no id
  local other_ms, other_seq = string.match(id, '^(%d+)-(%d+)$')
  if not ms or not other_ms then return false end
  other_ms, other_seq = tonumber(other_ms), tonumber(other_seq)
  return other_ms > tonumber(ms) or (other_ms == tonumber(ms) and other_seq > tonumber(seq))
end
local kept = redis.call('HGETALL', KEYS[2])
local stay = 0
for i = 1, #kept, 2 do
  if kept[i] ~= 'n' then
    if is_after(cjson.decode(kept[i + 1]).last) then stay = stay + 1 else redis.call('HDEL', KEYS[2], kept[i]) end
  end
end
if stay == 0 then redis.call('DEL', KEYS[2]) end
