#!lua flags=allow-oom
-- Claim a batch for a slot: what it already holds first, so that a retry takes the same batch; else new entries.
-- Entries that were being worked on when their worker died are counted in `crashes`; after two such deaths an entry comes alone.
-- KEYS: stream, epoch, the slot's failure, the slot's work, crashes, paused, the slot's attempts
-- ARGV: group, consumer (the slot), wanted events, wanted bytes, epoch to take if there is none, now (ISO 8601)
-- Returns {epoch, 1 if these were held before, 1 if more waits, 1 if the slot failed before, deaths of the entry, entries,
-- failed attempts: names and values in turns}
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local wanted_events, wanted_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('SET', KEYS[2], ARGV[5], 'NX')
local epoch = redis.call('GET', KEYS[2])
local failed = redis.call('EXISTS', KEYS[3])
if redis.call('EXISTS', KEYS[6]) == 1 then return {epoch, 0, 0, failed, 0, {}, {}} end
local out, events, bytes = {}, 0, 0

-- The group is made here, where maxmemory does not forbid it, and from 0, never `$`: what came before it counts too.
local probe = redis.pcall('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', stream, '0')
if type(probe) == 'table' and probe.err then
  if not string.find(probe.err, 'NOGROUP', 1, true) then return probe end
  redis.call('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
end

local function fits(fields) -- an entry larger than a whole batch goes alone
  local n, size = tonumber(fields[6]), tonumber(fields[8])
  if #out > 0 and (events + n > wanted_events or bytes + size > wanted_bytes) then return false end
  events, bytes = events + n, bytes + size
  return true
end

-- The ids that the last run was at when it ended without a word.
local first, died
for id in string.gmatch(redis.call('GET', KEYS[4]) or '', '%S+') do
  redis.call('HINCRBY', KEYS[5], id, 1)
  first, died = first or id, id
end
if died then -- as in attempts.lua; when it died nobody saw: it is noted now
  local n = redis.call('HINCRBY', KEYS[7], 'n', 1)
  redis.call('HSET', KEYS[7], n,
    cjson.encode({n = n, at = ARGV[6], first = first, last = died, sqlstate = '', error = 'the worker died'}))
  if n > 20 then redis.call('HDEL', KEYS[7], n - 19) end
end
redis.call('DEL', KEYS[4])
local attempts = redis.call('HGETALL', KEYS[7])
if #attempts > 0 then failed = 1 end

local function work() -- what is being worked on from now on, until an ack or a caught error says that it ended
  local ids = {}
  for k, entry in ipairs(out) do ids[k] = entry[1] end
  if #ids > 0 then redis.call('SET', KEYS[4], table.concat(ids, ' ')) end
end

local last, suspects = '0', redis.call('HLEN', KEYS[5]) > 0
while true do
  local own = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', stream, last)
  local entry = own and own[1][2][1]
  if not entry then break end
  last = entry[1]
  if not entry[2] or #entry[2] == 0 then
    redis.call('XACK', stream, group, last) -- deleted, but still on this slot's list
  else
    local deaths = suspects and tonumber(redis.call('HGET', KEYS[5], last) or 0) or 0
    if deaths >= 2 then
      if #out > 0 then break end -- first what is not suspected
      out[1] = entry
      work()
      return {epoch, 1, 1, failed, deaths, out, attempts}
    end
    if not fits(entry[2]) then break end
    out[#out + 1] = entry
  end
end
if #out > 0 then
  work()
  return {epoch, 1, 1, failed, 0, out, attempts}
end

local delivered
for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local field = {}
  for i = 1, #info, 2 do field[info[i]] = info[i + 1] end
  if field['name'] == group then delivered = field['last-delivered-id'] end
end
local more = 0
while true do
  local entry = redis.call('XRANGE', stream, '(' .. delivered, '+', 'COUNT', 1)[1]
  if not entry then break end
  if not fits(entry[2]) then
    more = 1
    break
  end
  delivered = entry[1]
  redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', stream, '>')
  out[#out + 1] = entry
end
work()
return {epoch, 0, more, failed, 0, out, attempts}
