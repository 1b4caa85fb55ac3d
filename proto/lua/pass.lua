-- What goes before a command that is passed on as it is, in one transaction with it: values of its keys that are not
-- valid any more go, and the fleet is told that the keys may have changed. A command that works on the bytes of strings
-- is carried out here, since those of a framed value are not the application's.
--
-- KEYS[1]  the fleet's state at this node, as write.lua has it
-- KEYS[2]  the journal, as write.lua has it
-- KEYS[i]  from the third on, the command's keys
-- ARGV     channel, instance, time_ms, a new incarnation in case there is none, about how many messages the journal
--          keeps; how, letters: w it may write, s it works on strings; then, with s, the command itself
-- Returns  the number of the first change (0 without w); with s, what the command returns
local HEAD, FIRST = 6, 3 -- arguments before those of the command; the first of its keys
local state, journal = KEYS[1], KEYS[2]
local channel, instance, time_ms, journal_len, how = ARGV[1], ARGV[2], ARGV[3], ARGV[5], ARGV[6]
local writes, runs = string.find(how, 'w', 1, true), string.find(how, 's', 1, true)

local head = redis.call('HMGET', state, 'inc', 'seq')
local inc, seq = tonumber(head[1]), tonumber(head[2]) or 0
if not inc then
	inc = tonumber(ARGV[4])
	redis.call('HSET', state, 'inc', ARGV[4])
end

-- 'live' or 'dead' for a framed value, nil for anything else.
local function look(key)
	local start = beginning(key)
	local model, frame_inc, epoch
	if type(start) ~= 'table' then
		model, frame_inc, epoch = frame_of(start)
	end
	return model and (frame_inc == inc and epoch == epoch_of(model) and 'live' or 'dead')
end

local function bulk(text)
	return '$' .. #text .. '\r\n' .. text .. '\r\n'
end

local function number(n)
	return bulk(string.format('%.0f', n))
end

-- As in write.lua.
local function write_down(id, message)
	local done = redis.pcall('XADD', journal, 'MAXLEN', '~', journal_len, id, 'e', message)
	if type(done) == 'table' and done.err then
		redis.call('DEL', journal)
		redis.pcall('XADD', journal, 'MAXLEN', '~', journal_len, id, 'e', message)
	end
end

local function tell()
	local parts = {'*' .. (5 + #KEYS) .. '\r\n', bulk('1'), bulk('passed'), bulk(instance), number(seq + 1), bulk(''),
	    number(0), bulk(time_ms)}
	for i = FIRST, #KEYS do
		parts[#parts + 1] = bulk(KEYS[i])
	end
	local message, last = table.concat(parts), string.format('%.0f', seq + #KEYS - FIRST + 1)
	-- A server out of memory lets a script write on that has written already, and this is such a write.
	redis.call('HDEL', state, '')
	redis.pcall('HSET', state, 'seq', last)
	if journal_len ~= '0' then
		write_down(last .. '-0', message)
	end
	redis.call('PUBLISH', channel, message)
end

-- Lua's numbers hold 53 bits.
local function is_too_wide(command)
	if string.sub(string.lower(command[1]), 1, 8) ~= 'bitfield' then
		return false
	end
	for i = 3, #command do
		local bits = string.match(command[i], '^[iu](%d+)$')
		if bits and tonumber(bits) > 53 then
			return true
		end
	end
	return false
end

local framed = false
for i = FIRST, #KEYS do
	local found = look(KEYS[i])
	if found == 'dead' then
		redis.call('DEL', KEYS[i])
	end
	framed = framed or found == 'live'
end
if runs and framed then
	return redis.error_reply('ERR a value is stored with its model, and this command works on what is stored as it is')
end
local command = {}
for i = HEAD + 1, #ARGV do
	command[#command + 1] = ARGV[i]
end
if runs and is_too_wide(command) then
	return redis.error_reply('ERR no more than 53 bits at a time when it is passed on')
end
if writes then
	tell()
end
if runs then
	return redis.pcall(unpack(command))
end
return writes and seq + 1 or 0
