#!lua flags=allow-oom
-- Claim a batch for a slot: what it already holds first, so that a retry takes the same batch; else new entries.
-- KEYS: stream, epoch, the slot's failure    ARGV: group, consumer (the slot), wanted events, wanted bytes, epoch to take if there is none
-- Returns {epoch, 1 if these were held before, 1 if more waits, 1 if the slot failed before, entries}
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local wanted_events, wanted_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('SET', KEYS[2], ARGV[5], 'NX')
local epoch = redis.call('GET', KEYS[2])
local failed = redis.call('EXISTS', KEYS[3])
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

local last = '0'
while true do
  local own = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', stream, last)
  local entry = own and own[1][2][1]
  if not entry then break end
  last = entry[1]
  if not entry[2] or #entry[2] == 0 then
    redis.call('XACK', stream, group, last) -- deleted, but still on this slot's list
  elseif fits(entry[2]) then
    out[#out + 1] = entry
  else
    break
  end
end
if #out > 0 then return {epoch, 1, 1, failed, out} end

local delivered
for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local field = {}
  for i = 1, #info, 2 do field[info[i]] = info[i + 1] end
  if field['name'] == group then delivered = field['last-delivered-id'] end
end
while true do
  local entry = redis.call('XRANGE', stream, '(' .. delivered, '+', 'COUNT', 1)[1]
  if not entry then return {epoch, 0, 0, failed, out} end
  if not fits(entry[2]) then return {epoch, 0, 1, failed, out} end
  delivered = entry[1]
  redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', stream, '>')
  out[#out + 1] = entry
end
