-- What goes behind the SETs of a batch, in one transaction with them: they are numbered, the fleet is told of them in one
-- message, and the journal keeps that. It does what write.lua does in its short form, for values that are better kept
-- out of Lua, where each is copied and hashed to the last byte whenever it is touched.
--
-- Sent whole each time: an EVALSHA might find the script forgotten when the values are there already, and nobody told.
-- The server hashes all of it twice, so it has few words, and goes without these.
--
-- All values are of one model. Frames bear the number, incarnation and epoch that were to be expected; where those turn
-- out to be others, they are put right here.
--
-- KEYS     the fleet's state, the journal: as write.lua has them
-- ARGV     channel
--          packed: the model's field in the state, 'm:<model>'; how the values are: 'f' framed, 'r' raw whatever, '' raw
--          unless the model has been cleared; how many there are; the first number that the frames bear, their
--          incarnation and their epoch, these two as text; the latest epoch that the values may be of; their expiry, or -1; a
--          new incarnation in case there is none, and about how many messages the journal keeps ('0': there is none), as text
--          packed: the keys
--          the event but for its seq and epoch, in three pieces: before the one, between them, behind the other
-- Returns  incarnation, the first number, epoch, pttl (-3: they came too late, and are gone); or an error: they are gone, and
--          the fleet is told of that
local try, unpacked, state, journal, failed = redis.pcall, cmsgpack.unpack, KEYS[1], KEYS[2], nil
local function call(...)
	local reply = try(...)
	if type(reply) == 'table' and reply.err then
		failed = reply
	end
	return reply
end
local field, how, n, first, inc, epoch, latest, pttl, new, kept = unpacked(ARGV[2])
local head = call('HMGET', state, 'inc', 'seq', field)
local function drop()
	try('DEL', unpacked(ARGV[3]))
end
local function bulk(text)
	return '$' .. #text .. '\r\n' .. text .. '\r\n'
end
local function publish(number, at)
	local message = ARGV[4] .. bulk(number) .. ARGV[5] .. bulk(at) .. ARGV[6]
	try('PUBLISH', ARGV[1], message)
	return message
end
if failed then
	drop()
	publish('0', '0')
	return failed
end
local seq, now, model = tonumber(head[2]) or 0, head[3] or '0', string.sub(field, 3)
local function number(key, i)
	if call('STRLEN', key) > 31 then
		call('SETRANGE', key, 8, struct.pack('<I8I4I4', seq + i, head[1], now))
	end
end
local function frame(key, i)
	local value = call('GET', key)
	if value and string.sub(value, 1, 4) ~= '\245hc\1' then
		value = struct.pack('<BBHI8I4I4I4I4', 1, 0, #model, 0, 0, 0, #value, 0) .. model .. value
		call('SET', key, '\245hc\1' .. value, 'KEEPTTL')
	end
	number(key, i)
end
if not head[1] then
	head[1] = new
	call('HSET', state, 'inc', new)
end
local change = how == '' and now ~= '0' and frame or
    how == 'f' and (first ~= seq + 1 or inc ~= head[1] or epoch ~= now) and number
if tonumber(now) > latest then
	drop()
	pttl = -3
elseif change then
	if model == 'default' then
		model = ''
	end
	for i, key in ipairs({unpacked(ARGV[3])}) do
		change(key, i)
	end
end
local last = string.format('%d', seq + n)
call('HSET', state, 'seq', last)
if failed then
	drop()
	try('HSET', state, 'seq', last)
end
local message = publish(string.format('%d', seq + 1), now)
if kept ~= '0' then
	local entry = {'XADD', journal, 'MAXLEN', '~', kept, last .. '-0', 'e', message}
	if type(try(unpack(entry))) == 'table' then
		try('DEL', journal)
		try(unpack(entry))
	end
end
return failed or {tonumber(head[1]), seq + 1, tonumber(now), pttl}
