-- The sweep: takes away values that a CLEAR MODEL has made invisible, a page of keys at a time. One daemon of the fleet does
-- it, for as long as it holds the lease; where it is stands beside that, so that another can go on from there.
--
-- KEYS[1]  the fleet's state at this node, as write.lua has it: there `clears` counts clears, `swept` is what it was when
--          the last pass that has been finished began; a pass is needed while they differ
-- KEYS[2]  the lease: a string, the instance that sweeps
-- KEYS[3]  the pass: a hash of inc and life (the upstream it is about), at (`clears` when it began), cursor, scanned,
--          deleted, total (keys there were)
-- KEYS[i]  from the fourth on, keys to be looked at
-- ARGV     take, a name for whoever asks, ms of the lease, the life of the upstream as the daemon tells it
--          page, the same, then the cursor behind these keys, how many were looked at, and for each key the model that
--          a raw value there belongs to ('' if it is to be left alone)
-- Returns  of take: {none}, {other, by, scanned, deleted, total} or {mine, cursor, scanned, deleted, total}
--          of page: {going or done or again, deleted}; {lost}: the lease, or the pass it was about, is gone
--
-- What goes: a framed value of this incarnation whose epoch is below its model's. A raw value does not tell when it was
-- written. It goes if its model has been cleared and nobody has read or written it since, by the server's own account:
-- it has been idle for longer than the key that was written at the clear (by two seconds, as idle times are whole
-- ones). A value that is written or read meanwhile is younger; where the server keeps no idle times, raw values stay.
local FIRST, HEAD = 4, 6
local IDLE_STEP_S = 2
local state, lease, pass = KEYS[1], KEYS[2], KEYS[3]
local what, token, lease_ms, life = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local own = string.sub(state, 1, -6) -- without 'state'

local function number(text)
	return tonumber(text) or 0
end

local head = redis.call('HMGET', state, 'inc', 'clears', 'swept')
local inc, clears, swept = head[1] or '', number(head[2]), number(head[3])

-- A server out of memory lets a script write on that has written already, and this one gives some back.
local function begin_writing()
	redis.call('HDEL', state, '')
end

local function is_of_this(progress)
	return progress[1] == inc and progress[2] == life and progress[4]
end

local function take()
	if clears == swept or inc == '' then
		return {'none'}
	end
	local holder = redis.call('GET', lease)
	local progress = redis.call('HMGET', pass, 'inc', 'life', 'at', 'cursor', 'scanned', 'deleted', 'total')
	if holder and holder ~= token then
		return {'other', holder, number(progress[5]), number(progress[6]), number(progress[7])}
	end
	begin_writing()
	redis.call('SET', lease, token, 'PX', lease_ms)
	if not is_of_this(progress) then
		local total = redis.call('DBSIZE')
		redis.call('DEL', pass)
		redis.call('HSET', pass, 'inc', inc, 'life', life, 'at', clears, 'cursor', '0', 'scanned', 0, 'deleted', 0, 'total', total)
		return {'mine', '0', 0, 0, total}
	end
	return {'mine', progress[4], number(progress[5]), number(progress[6]), number(progress[7])}
end

-- nil: the server does not tell.
local function idle_s(key)
	local idle = redis.pcall('OBJECT', 'IDLETIME', key)
	return type(idle) == 'number' and idle or nil
end

-- Small numbers are values that the server may have once for all keys: their idle time is nobody's.
local function is_shared(key)
	return redis.pcall('OBJECT', 'REFCOUNT', key) ~= 1
end

local cleared = {}
-- For how long the key has been idle that was written when the model was cleared; false: that cannot be told.
local function idle_since_clear(model)
	if cleared[model] == nil then
		cleared[model] = epoch_of(model) > 0 and idle_s(own .. 'cleared/' .. model) or false
	end
	return cleared[model]
end

local function is_stale(key, raw_model)
	local idle, least -- before it is read, which ends its idleness
	if raw_model ~= '' then
		least = idle_since_clear(raw_model)
		idle = least and idle_s(key)
	end
	local start = beginning(key)
	if type(start) == 'table' then
		return false
	end
	local model, frame_inc, epoch = frame_of(start)
	if model then
		return frame_inc == number(inc) and epoch < epoch_of(model)
	end
	return idle and idle >= least + IDLE_STEP_S and not is_shared(key)
end

-- Clears that came meanwhile want another pass.
local function finish(at)
	redis.call('HSET', state, 'swept', at)
	redis.call('DEL', pass, lease)
	return number(at) == clears and 'done' or 'again'
end

local function bulk(text)
	return '$' .. #text .. '\r\n' .. text .. '\r\n'
end

-- So that what the server itself tells of these keys is not taken for somebody else's doing.
local function tell(keys)
	local head = '*' .. 7 + #keys .. '\r\n' .. bulk('1') .. bulk('swept') .. bulk(token) .. bulk('0') .. bulk('') ..
	    bulk('0') .. bulk('0')
	redis.pcall('PUBLISH', own .. 'events', head .. table.concat(keys))
end

local function page()
	local progress = redis.call('HMGET', pass, 'inc', 'life', 'at', 'cursor')
	if redis.call('GET', lease) ~= token or not is_of_this(progress) then
		return {'lost'}
	end
	begin_writing()
	redis.call('PEXPIRE', lease, lease_ms)
	local deleted, keys = 0, {}
	for i = FIRST, #KEYS do
		if is_stale(KEYS[i], ARGV[HEAD + i - FIRST + 1]) then
			deleted = deleted + redis.call('UNLINK', KEYS[i])
			keys[#keys + 1] = bulk(KEYS[i])
		end
	end
	if #keys > 0 then
		tell(keys)
	end
	if ARGV[5] == '0' then
		return {finish(progress[3]), deleted}
	end
	redis.call('HSET', pass, 'cursor', ARGV[5])
	redis.call('HINCRBY', pass, 'scanned', ARGV[6])
	redis.call('HINCRBY', pass, 'deleted', deleted)
	return {'going', deleted}
end

return what == 'take' and take() or page()
