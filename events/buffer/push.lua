#!lua
-- Push units into the stream, each whole or not at all, and keep the counters exact. Refused before any write at maxmemory.
-- KEYS: stream, depth, accepted, drain (Celery's list), bell:0 .. bell:N-1, hold:0 .. hold:N-1
-- ARGV: max events, max bytes, batch size, slots, then per unit: project, hour, events, bytes, entries,
--       and per entry: events, first and last received_at (epoch ms), payload
-- Returns {events, bytes, drained a second, slot to ring or -1, code of each unit ...}; codes: 202, 429, 503
local stream, depth, accepted = KEYS[1], KEYS[2], KEYS[3]
local max_events, max_bytes, batch, slots = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local held = redis.call('HMGET', depth, 'e', 'b', 'rate')
local e, b = tonumber(held[1] or 0), tonumber(held[2] or 0)
local out = {0, 0, held[3] or '0', -1}
local i, pushed = 5, false
while i <= #ARGV do
  local project, hour, n, size, entries = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
  i = i + 5
  local own = tonumber(redis.call('HGET', depth, 'e:' .. project) or 0)
  local code = 202
  if e + n > max_events or b + size > max_bytes then
    code = 503
  elseif own + n > 8 * (max_events - e) then -- the fair share: a lone project fills 8/9, floods leave room for others
    code = 429
  else
    for j = 0, entries - 1 do
      local k = i + 4 * j
      redis.call('XADD', stream, '*', 'v', 1, 'p', project, 'n', ARGV[k], 'b', #ARGV[k + 3],
        't', ARGV[k + 1], 'u', ARGV[k + 2], 'd', ARGV[k + 3])
    end
    redis.call('HINCRBY', depth, 'e', n)
    redis.call('HINCRBY', depth, 'b', size)
    redis.call('HINCRBY', depth, 'e:' .. project, n)
    redis.call('HINCRBY', accepted, project .. ':' .. hour, n)
    e, b, pushed = e + n, b + size, true
  end
  out[#out + 1] = code
  i = i + 4 * entries
end
out[1], out[2] = e, b
-- Ring one slot that sleeps: the first for anything, a further one when more than a batch waits. Never more messages than slots.
if pushed and redis.call('LLEN', KEYS[4]) < slots then
  local wanted = math.min(slots, math.ceil(e / batch))
  for slot = 0, wanted - 1 do
    if redis.call('EXISTS', KEYS[5 + slots + slot]) == 0 and redis.call('SET', KEYS[5 + slot], '1', 'NX', 'PX', 10000) then
      out[4] = slot
      break
    end
  end
end
return out
