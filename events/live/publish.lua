-- Adds what one batch stored of one project. All of it or, out of memory, nothing.
-- KEYS place, stream. ARGV events, skipped before them, restart (0/1), names, events' JSON, most bytes, most entries, keep ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local count, skipped = tonumber(ARGV[1]), tonumber(ARGV[2])

local function size_of(names, events)
  return #names + #events + 100
end

local place = redis.call('HMGET', KEYS[1], 'epoch', 'n', 'bytes')
local epoch, number, bytes = tonumber(place[1]), tonumber(place[2]), tonumber(place[3])
if not epoch then
  redis.call('DEL', KEYS[2])
  epoch, number, bytes = now, 0, 0
elseif ARGV[3] == '1' then
  epoch, number = math.max(now, epoch + 1), 0
end
if count > 0 then
  number = number + skipped + count
  local id = string.format('%.0f-%.0f', epoch, number)
  redis.call('XADD', KEYS[2], id, 'n', count, 'k', skipped, 't', string.format('%.0f', now), 'c', ARGV[4], 'e', ARGV[5])
  bytes = bytes + size_of(ARGV[4], ARGV[5])
  local length = redis.call('XLEN', KEYS[2])
  while length > 1 and (bytes > tonumber(ARGV[6]) or length > tonumber(ARGV[7])) do
    local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
    bytes = bytes - size_of(oldest[2][8], oldest[2][10])
    redis.call('XDEL', KEYS[2], oldest[1])
    length = length - 1
  end
end
redis.call('HSET', KEYS[1], 'epoch', string.format('%.0f', epoch), 'n', string.format('%.0f', number),
  'bytes', string.format('%.0f', bytes))
redis.call('PEXPIRE', KEYS[1], ARGV[8])
redis.call('PEXPIRE', KEYS[2], ARGV[8])
