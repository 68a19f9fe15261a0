#!lua
-- Push units into the stream, each whole or not at all, and keep the counters exact. Refused before any write at maxmemory.
-- KEYS: stream, depth, accepted, drain (Celery's list), paused, quotas, buckets, day prefix,
--       bell:0 .. bell:N-1, hold:0 .. hold:N-1
-- ARGV: max events, max bytes, batch size, slots, default quota ("per second, burst, per day", 0: none),
--       then per unit: project, hour, events, bytes, entries, and per entry: events, first and last received_at (ms), payload
-- Returns {events, bytes, drained a second, slot to ring or -1, then per unit: outcome, seconds to wait (0: see the backlog)}
local stream, depth, accepted = KEYS[1], KEYS[2], KEYS[3]
local max_events, max_bytes, batch, slots = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local held = redis.call('HMGET', depth, 'e', 'b', 'rate')
local e, b = tonumber(held[1] or 0), tonumber(held[2] or 0)
local out = {0, 0, held[3] or '0', -1}
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local day_key = KEYS[8] .. math.floor(tonumber(time[1]) / 86400)
local day_left = 86400 - tonumber(time[1]) % 86400

-- A token bucket of `burst` events that fills by `rate` a second; a unit larger than it may be taken on credit when it is full.
local function bucket_of(project, rate, burst)
  local kept = redis.call('HGET', KEYS[7], project)
  local tokens, at = string.match(kept or '', '^(%S+) (%S+)$')
  if not tokens then return burst end
  return math.min(burst, tonumber(tokens) + (now - tonumber(at)) / 1000 * rate)
end

local i, pushed = 6, false
while i <= #ARGV do
  local project, hour, n, size, entries = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
  i = i + 5
  local own = tonumber(redis.call('HGET', depth, 'e:' .. project) or 0)
  local quota = redis.call('HGET', KEYS[6], project) or ARGV[5]
  local rate, burst, per_day = string.match(quota, '^(%d+) (%d+) (%d+)$')
  rate, burst, per_day = tonumber(rate), tonumber(burst), tonumber(per_day)
  local tokens = rate > 0 and bucket_of(project, rate, burst)
  local today = per_day > 0 and tonumber(redis.call('HGET', day_key, project) or 0)
  local outcome, wait = 'accepted', 0
  if today and today + n > per_day then
    outcome, wait = 'quota_exceeded', day_left
  elseif tokens and tokens < math.min(n, burst) then
    outcome, wait = 'rate_limited', (math.min(n, burst) - tokens) / rate
  elseif e + n > max_events or b + size > max_bytes then
    outcome = 'queue_full'
  elseif own + n > 8 * (max_events - e) then -- the fair share: a lone project fills 8/9, floods leave room for others
    outcome = 'project_backlog'
  else
    for j = 0, entries - 1 do
      local k = i + 4 * j
      redis.call('XADD', stream, '*', 'v', 1, 'p', project, 'n', ARGV[k], 'b', #ARGV[k + 3],
        't', ARGV[k + 1], 'u', ARGV[k + 2], 'd', ARGV[k + 3])
    end
    redis.call('HINCRBY', depth, 'n', entries)
    redis.call('HINCRBY', depth, 'e', n)
    redis.call('HINCRBY', depth, 'b', size)
    redis.call('HINCRBY', depth, 'e:' .. project, n)
    redis.call('HINCRBY', depth, 'q:' .. project .. ':' .. hour, n)
    redis.call('HINCRBY', accepted, project .. ':' .. hour, n)
    if redis.call('HINCRBY', day_key, project, n) == n then redis.call('EXPIRE', day_key, 172800) end
    if tokens then redis.call('HSET', KEYS[7], project, (tokens - n) .. ' ' .. now) end
    e, b, pushed = e + n, b + size, true
  end
  out[#out + 1] = outcome
  out[#out + 1] = math.ceil(wait)
  i = i + 4 * entries
end
out[1], out[2] = e, b
-- Ring one slot that sleeps: the first for anything, a further one when more than a batch waits. Never more messages than slots.
if pushed and redis.call('LLEN', KEYS[4]) < slots and redis.call('EXISTS', KEYS[5]) == 0 then
  local wanted = math.min(slots, math.ceil(e / batch))
  for slot = 0, wanted - 1 do
    if redis.call('EXISTS', KEYS[9 + slots + slot]) == 0 and redis.call('SET', KEYS[9 + slot], '1', 'NX', 'PX', 10000) then
      out[4] = slot
      break
    end
  end
end
return out
