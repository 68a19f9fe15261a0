-- Somebody looks at a project, from now on or still. Returns its epoch, number and the time; nothing when too many are watched.
-- KEYS watched, place, stream. ARGV project, watch ms, keep ms, most projects, age ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function ends(mark)
  return tonumber(string.match(mark, '^%d+'))
end

local mark = redis.call('HGET', KEYS[1], ARGV[1])
local since = mark and ends(mark) >= now and string.match(mark, '%d+$')
local epoch, number = unpack(redis.call('HMGET', KEYS[2], 'epoch', 'n'))
if not since then
  local marks = redis.call('HVALS', KEYS[1])
  local others = 0
  for _, other in ipairs(marks) do
    if ends(other) >= now then others = others + 1 end
  end
  if others >= tonumber(ARGV[4]) then return {} end
end
if not since or not epoch then
  -- What was stored while nobody looked is in no stream: numbers of before must not seem to go on.
  epoch = string.format('%.0f', math.max(now, (tonumber(epoch) or 0) + 1))
  number = '0'
  redis.call('DEL', KEYS[2], KEYS[3])
  redis.call('HSET', KEYS[2], 'epoch', epoch, 'n', number, 'bytes', 0)
end
local oldest = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)[1]
while oldest and tonumber(oldest[2][6]) < now - ARGV[5] do
  redis.call('XDEL', KEYS[3], oldest[1])
  redis.call('HINCRBY', KEYS[2], 'bytes', -(#oldest[2][8] + #oldest[2][10] + 100))  -- as publish.lua counts
  oldest = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)[1]
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %s', now + ARGV[2], since or string.format('%.0f', now)))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[3], ARGV[3])
return {epoch, number, string.format('%.0f', now)}
