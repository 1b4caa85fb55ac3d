-- Every change of a key or a model, in one round trip: a batch of operations, carried out in order, numbered by the
-- node's sequence, told to the fleet in one message, and kept in the journal for those who missed that.
--
-- KEYS[1]  the fleet's state at this node: a hash of `inc` (which life of the upstream this is), `seq` (changes so
--          far), and `m:<model>` (the model's epoch; none is 0); `clears` and `swept` are for sweep.lua
-- KEYS[2]  the journal: a stream of the messages published, each under the number of its last change: `<seq>-0 e <message>`
-- KEYS[i]  from the third on, the key of operation i-2
-- ARGV     channel, instance, time_ms, a new incarnation in case there is none, about how many messages the journal
--          keeps (0: there is no journal), the form: '' or 'p', see below; then for each operation eight:
--          kind    S set, D delete, E expire, P persist, C clear the model, A everything was or will be cleared;
--                  changes of what is there: I INCRBY, J INCRBYFLOAT, Q append, R set a range;
--                  F the source of a copy, and behind it T, its target;
--                  G a guard, and behind it the S that it guards: of what was set while this server could not be told
--          flags   letters: n only if absent, x only if present, k keep the expiry, g return the old value;
--                  f frame it in any case, r never; for E: N X G L as EXPIRE's NX XX GT LT; for S: b with those
--                  behind it that have an a, all of them only if none is there, l<epoch> only while the
--                  model's epoch is no later: the value is as old as that (-1: it is too late in any case), q only if the guard before it allows; for F:
--                  d it is moved; for G: b it is known what was there before, c another has written the key since, u
--                  another may have
--          model   of the value written, or the one to clear ('' stands for default); of a change, when nothing is
--                  there
--          raw     the model that a raw value under this key belongs to
--          expiry  '' none, P<ms> from now, A<ms> absolute by this server's clock; for C: the least epoch the model
--                  shall have from now on; for G: the epoch that the value is of
--          length  of the value before its codec, and
--          sum     its checksum, as the frame wants them; for Q and R: the longest value there may be, and the offset;
--                  for G: up to which change the caller has heard of all, and the seq of what was there before
--          value   or by how much, for I and J; for G: what was there before
-- Returns  incarnation, then for each operation: {code, seq, epoch, pttl, old, answer} with code 1 done, 0 not
--          (condition, or no such key), 2 not before the caller has heard of what changed since; seq 0 when nothing
--          changed, pttl as PTTL gives it (-2 when not asked for, -3 for a SET that came too late; of C the epoch that there
--          was before), old the stored value (frame included) or false, answer of a change the new number or length; or an error.
--
-- The form 'p' is for what most batches are: nothing but S of one model, expiry ('' or P<ms>) and flags (f, r or none,
-- and perhaps l<epoch>). ARGV then goes on with model, flags, expiry, and the event but for its seq and epoch, in three
-- pieces: before the one, between them, behind the other; and has two for each operation: sum, value. Returns
-- incarnation, first seq, epoch, pttl (-3: they came too late): all are done, and numbered on from there. Or an error:
-- none is.
local HEAD, FIRST = 6, 3 -- arguments before those of operations; the first of their keys
local state, journal = KEYS[1], KEYS[2]
local channel, instance, time_ms, journal_len = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local inc, seq

local function begin(inc_text, seq_text)
	inc = tonumber(inc_text)
	seq = tonumber(seq_text) or 0
	if not inc then
		inc = tonumber(ARGV[4])
		redis.call('HSET', state, 'inc', ARGV[4])
	end
end

local function failed(reply)
	return type(reply) == 'table' and reply.err ~= nil
end

local function bulk(text)
	return '$' .. #text .. '\r\n' .. text .. '\r\n'
end

-- What this server forgot of its own sequence, or somebody else put there, is no journal of ours.
local function write_down(number, message)
	local id = number .. '-0'
	local done = redis.pcall('XADD', journal, 'MAXLEN', '~', journal_len, id, 'e', message)
	if failed(done) then
		redis.call('DEL', journal)
		redis.pcall('XADD', journal, 'MAXLEN', '~', journal_len, id, 'e', message)
	end
end

local function publish(message)
	local number = string.format('%.0f', seq)
	-- A server out of memory takes these all the same: something has been written before.
	redis.pcall('HSET', state, 'seq', number)
	if journal_len ~= '0' then
		write_down(number, message)
	end
	redis.call('PUBLISH', channel, message)
end

-- Most of what this costs is the calls and the text it makes: hence as few as there can be.
if ARGV[HEAD] == 'p' then
	local model, flags, expiry = ARGV[HEAD + 1], ARGV[HEAD + 2], ARGV[HEAD + 3]
	local head = redis.call('HMGET', state, 'inc', 'seq', 'm:' .. (model == '' and DEFAULT or model))
	begin(head[1], head[2])
	local epoch, first, count = tonumber(head[3]) or 0, seq + 1, #KEYS - FIRST + 1
	local form, seen = string.match(flags, '^([fr]?)l?(%-?%d*)$')
	local late = seen ~= '' and epoch > tonumber(seen)
	local framed, before = form == 'f' or form ~= 'r' and epoch > 0, nil
	if framed then
		before = MAGIC .. struct.pack('<BBH', 1, 0, #model)
	end
	local ttl = expiry ~= '' and string.sub(expiry, 2)
	local command, at = {'MSET'}, HEAD + 6
	if late then
		redis.call('DEL', unpack(KEYS, FIRST)) -- as set() does, below
	end
	for i = 1, late and 0 or count do
		local value = ARGV[at + 2]
		if framed then
			value = before ..
			    struct.pack('<I8I4I4I4I4', seq + i, inc, epoch, #value, tonumber(ARGV[at + 1])) .. model .. value
		end
		if ttl then
			local done = redis.pcall('SET', KEYS[i + FIRST - 1], value, 'PX', ttl)
			if failed(done) then -- the first: a server out of memory lets a script write on that has written
				return done
			end
		else
			command[2 * i] = KEYS[i + FIRST - 1]
			command[2 * i + 1] = value
		end
		at = at + 2
	end
	if not ttl and not late then
		local done = redis.pcall(unpack(command))
		if failed(done) then
			return done
		end
	end
	seq = seq + count
	publish(ARGV[HEAD + 4] .. bulk(string.format('%.0f', first)) .. ARGV[HEAD + 5] ..
	    (epoch == 0 and '$1\r\n0\r\n' or bulk(head[3])) .. ARGV[HEAD + 6])
	return {inc, first, epoch, late and -3 or ttl and tonumber(ttl) or -1}
end

local head = redis.call('HMGET', state, 'inc', 'seq')
begin(head[1], head[2])
local seq_before = seq

-- Behind which argument those of the operation of KEYS[i] are.
local function args_of(i)
	return HEAD + (i - FIRST) * 8
end

-- What the key holds that a reader would be given: 'framed' or 'raw' and its model, 'other' for a value of another
-- type than string, or nil.
local function look(key, raw_model)
	local start = beginning(key)
	if type(start) == 'table' then
		return 'other', ''
	end
	local model, frame_inc, epoch = frame_of(start)
	if model then
		if frame_inc == inc and epoch == epoch_of(model) then
			return 'framed', model
		end
		return nil
	end
	if epoch_of(raw_model) ~= 0 or start == '' and redis.call('EXISTS', key) == 0 then
		return nil
	end
	return 'raw', raw_model
end

local function is_live(key, raw_model)
	return look(key, raw_model) ~= nil
end

local CLEAR_ALL = bulk('clear-all')

local function has(text, part)
	return string.find(text, part, 1, true) ~= nil
end

local function frame(model, length, sum, value)
	return MAGIC .. struct.pack('<BBHI8I4I4I4I4', 1, 0, #model, seq + 1, inc, epoch_of(model), tonumber(length),
	    tonumber(sum)) .. model .. value
end

local function stored_form(flags, model, length, sum, value)
	if has(flags, 'r') or not (has(flags, 'f') or epoch_of(model) > 0) then
		return value
	end
	return frame(model, length, sum, value)
end

-- What is there, when it is asked for; else false. Or an error.
local function old_value(key, flags)
	return has(flags, 'g') and redis.pcall('GET', key)
end

local function set(key, flags, model, raw_model, expiry, length, sum, value)
	local seen = string.match(flags, 'l(%-?%d+)')
	if seen and epoch_of(model) > tonumber(seen) then
		-- As if it had been written and then cleared: what was there before must not show up again.
		if redis.call('DEL', key) == 0 then
			return {1, 0, 0, -3, false}
		end
		seq = seq + 1
		return {1, seq, 0, -3, false}
	end
	local live = false
	if has(flags, 'n') or has(flags, 'x') or has(flags, 'k') or has(flags, 'g') then
		live = is_live(key, raw_model)
	end
	local old = live and old_value(key, flags)
	if failed(old) then
		return old
	end
	if (has(flags, 'n') and live) or (has(flags, 'x') and not live) then
		return {0, 0, 0, -2, old}
	end
	local command = {'SET', key, stored_form(flags, model, length, sum, value)}
	local pttl, ask = -1, false
	if has(flags, 'k') and live then
		command[4], ask = 'KEEPTTL', true
	elseif expiry ~= '' then
		command[4], command[5] = 'PX', string.sub(expiry, 2)
		if string.sub(expiry, 1, 1) == 'A' then
			command[4], ask = 'PXAT', true
		else
			pttl = tonumber(command[5])
		end
	end
	local done = redis.pcall(unpack(command))
	if failed(done) then
		return done
	end
	if ask then
		pttl = redis.call('PTTL', key)
	end
	seq = seq + 1
	return {1, seq, epoch_of(model), pttl, old}
end

local function del(key, flags, raw_model)
	local live = is_live(key, raw_model)
	local old = live and old_value(key, flags)
	if failed(old) then
		return old
	end
	if redis.call('DEL', key) == 0 then
		return {0, 0, 0, -2, false}
	end
	seq = seq + 1
	return {live and 1 or 0, seq, 0, -2, old}
end

local function expire(key, flags, raw_model, expiry)
	if not is_live(key, raw_model) then
		return {0, 0, 0, -2, false}
	end
	local old = old_value(key, flags)
	if failed(old) then
		return old
	end
	local now = redis.call('PTTL', key)
	local ttl = tonumber(string.sub(expiry, 2))
	if string.sub(expiry, 1, 1) == 'A' then
		local time = redis.call('TIME')
		ttl = ttl - (time[1] * 1000 + math.floor(time[2] / 1000))
	end
	if (has(flags, 'N') and now >= 0) or (has(flags, 'X') and now < 0) or
	    (has(flags, 'G') and (now < 0 or ttl <= now)) or (has(flags, 'L') and now >= 0 and ttl >= now) then
		return {0, 0, 0, now, old}
	end
	if string.sub(expiry, 1, 1) == 'A' then
		redis.call('PEXPIREAT', key, string.sub(expiry, 2))
	else
		redis.call('PEXPIRE', key, string.sub(expiry, 2))
	end
	seq = seq + 1
	return {1, seq, 0, redis.call('PTTL', key), old}
end

local function persist(key, flags, raw_model)
	if not is_live(key, raw_model) then
		return {0, 0, 0, -2, false}
	end
	local old = old_value(key, flags)
	if failed(old) then
		return old
	end
	if redis.call('PERSIST', key) == 0 then
		return {0, 0, 0, -1, old}
	end
	seq = seq + 1
	return {1, seq, 0, -1, old}
end

local CHANGES = {I = 'INCRBY', J = 'INCRBYFLOAT', Q = 'APPEND', R = 'SETRANGE'}
local TOO_LONG = 'ERR string exceeds maximum allowed size (proto-max-bulk-len)'

-- Redis itself changes the value, out of its frame for that time, so that numbers come out as its own. A checksum of
-- the new value cannot be computed here: the frame says 0.
local function change(kind, key, flags, model, raw_model, expiry, max, offset, value)
	local form, old_model = look(key, raw_model)
	local stored, payload
	if form == 'framed' then
		stored = redis.call('GET', key)
		payload = string.sub(stored, 33 + #old_model)
	elseif not form then
		redis.call('DEL', key)
	end
	if form ~= 'other' and (kind == 'Q' or kind == 'R') then
		local from = kind == 'R' and tonumber(offset) or payload and #payload or redis.call('STRLEN', key)
		if from + #value > tonumber(max) then
			return {err = TOO_LONG}
		end
	end
	if stored then
		local done = redis.pcall('SET', key, payload, 'KEEPTTL')
		if failed(done) then
			return done
		end
	end
	local done
	if kind == 'R' then
		done = redis.pcall('SETRANGE', key, offset, value)
	else
		done = redis.pcall(CHANGES[kind], key, value)
	end
	if failed(done) then
		if stored then
			redis.call('SET', key, stored, 'KEEPTTL')
		end
		return done
	end
	-- What is raw stays so, unless it would be taken for a frame, or nobody could tell its model.
	local new_model = form and old_model or model
	local framed = form == 'framed' or redis.call('GETRANGE', key, 0, 3) == MAGIC or
	    not form and not has(flags, 'r') and (has(flags, 'f') or epoch_of(model) > 0)
	local answer
	if framed then
		local new = redis.call('GET', key)
		redis.call('SET', key, frame(new_model, #new, 0, new), 'KEEPTTL')
		answer = new
	elseif kind == 'I' or kind == 'J' then
		answer = redis.call('GET', key)
	end
	if kind == 'Q' or kind == 'R' then
		answer = string.format('%.0f', done)
	end
	if not form and expiry ~= '' then
		redis.call('PEXPIRE', key, string.sub(expiry, 2))
	end
	seq = seq + 1
	return {1, seq, epoch_of(new_model), -2, false, answer, model = new_model}
end

-- The target's model when the source has been copied to it, else nil.
local copied

-- Redis itself copies, whatever the type, with its expiry.
local function copy_from(key, flags, raw_model, target, target_flags, target_raw_model)
	copied = nil
	local form, model = look(key, raw_model)
	if not form then
		return {0, 0, 0, -2, false}
	end
	if has(target_flags, 'n') and is_live(target, target_raw_model) then
		return {1, 0, 0, -2, false}
	end
	local done = redis.pcall('COPY', key, target, 'REPLACE')
	if failed(done) then
		return done
	end
	if form == 'raw' and model ~= target_raw_model and not has(target_flags, 'r') then
		local value = redis.call('GET', target)
		redis.call('SET', target, frame(model, #value, 0, value), 'KEEPTTL')
		form = 'framed'
	end
	if form == 'raw' then
		model = target_raw_model
	end
	copied = {form = form, model = model}
	if not has(flags, 'd') then
		return {1, 0, 0, -2, false}
	end
	redis.call('DEL', key)
	seq = seq + 1
	return {1, seq, 0, -2, false, model = ''}
end

local function copy_to(key)
	if not copied then
		return {0, 0, 0, -2, false}
	end
	seq = seq + 1
	if copied.form == 'framed' then
		redis.call('SETRANGE', key, 8, struct.pack('<I8', seq))
	end
	return {1, seq, epoch_of(copied.model), redis.call('PTTL', key), false, model = copied.model}
end

-- The messages that the caller of a guard has not heard of; nil when nobody can tell.
local FIRST_SEQ = '^%*%d+\r\n%$1\r\n1\r\n%$%d+\r\n[^\r]*\r\n%$%d+\r\n[^\r]*\r\n%$%d+\r\n(%d+)\r\n'
local UNHEARD_MAX = 1000
local function unheard(heard)
	if seq_before <= heard then
		return seq_before == heard and '' or nil
	end
	local from = string.format('%.0f-0', heard + 1)
	local entries = redis.pcall('XRANGE', journal, from, '+', 'COUNT', UNHEARD_MAX)
	if failed(entries) or #entries == 0 or #entries == UNHEARD_MAX then
		return nil
	end
	local messages = {}
	for i, entry in ipairs(entries) do
		messages[i] = entry[2][2]
	end
	if tonumber(string.match(messages[1], FIRST_SEQ) or '') ~= heard + 1 then
		return nil
	end
	return table.concat(messages)
end

-- Whether the key holds what the caller knows from before.
local function is_base(form, held_model, key, flags, base_seq, base)
	if not has(flags, 'b') then
		return false
	end
	if form == 'framed' and redis.call('GETRANGE', key, 8, 15) ~= struct.pack('<I8', tonumber(base_seq)) then
		return false
	end
	-- A replica that took over gives numbers again that it had not heard of: the number alone says nothing.
	return (form == 'framed' or form == 'raw') and
	    string.sub(redis.call('GET', key), form == 'framed' and 33 + #held_model or 1) == base
end

-- The code that the SET behind the guard is answered with, unless it is 1.
local function guard(key, flags, model, raw_model, epoch, heard, base_seq, base)
	local news = unheard(tonumber(heard))
	if not news or epoch_of(model) ~= tonumber(epoch) or has(news, bulk(key)) or has(news, CLEAR_ALL) then
		return 2
	end
	local form, held_model = look(key, raw_model)
	if is_base(form, held_model, key, flags, base_seq, base) then
		return 1
	end
	if has(flags, 'c') or form and (has(flags, 'u') or has(flags, 'b')) then
		return 0
	end
	return 1
end

-- Whether one of the keys from operation i on that are set together is there.
local function any_live(i)
	local at = args_of(i)
	repeat
		if is_live(KEYS[i], ARGV[at + 4]) then
			return true
		end
		i, at = i + 1, at + 8
	until i > #KEYS or not has(ARGV[at + 2], 'a')
	return false
end

local function clear_model(model, least)
	if model == '' then
		model = DEFAULT
	end
	-- A server out of memory lets a script write on that has written already, and this is such a write. What must be
	-- forgotten must be forgotten.
	redis.call('HDEL', state, '')
	local epoch = redis.pcall('HINCRBY', state, 'm:' .. model, 1)
	if failed(epoch) then
		return epoch
	end
	local before = epoch - 1
	if least ~= '' and epoch < tonumber(least) then
		epoch = tonumber(least)
		redis.call('HSET', state, 'm:' .. model, least)
	end
	epochs[model] = epoch
	-- For the sweep: that one is needed, and a key as old as this clear (no number, which the server may share).
	redis.pcall('HINCRBY', state, 'clears', 1)
	redis.pcall('SET', string.sub(state, 1, -6) .. 'cleared/' .. model, 'at ' .. epoch)
	seq = seq + 1
	return {1, seq, epoch, before, false}
end

local function event(kind, first, model, epoch, keys)
	return '*' .. 7 + #keys .. '\r\n' .. bulk('1') .. bulk(kind) .. bulk(instance) .. bulk(string.format('%.0f', first)) ..
	    bulk(model) .. bulk(string.format('%.0f', epoch)) .. bulk(time_ms) .. table.concat(keys)
end

-- Neighbouring changes alike in type, model and epoch share an event: their numbers follow each other.
local events, open = {}, nil
local function close_event()
	if open then
		events[#events + 1] = event(open.type, open.seq, open.model, open.epoch, open.keys)
		open = nil
	end
end

local TYPES = {S = 'set', I = 'set', J = 'set', Q = 'set', R = 'set', T = 'set', D = 'del', F = 'del', E = 'expire',
    P = 'expire', C = 'clear-model', A = 'clear-all'}
local function tell(kind, model, key, result)
	-- An expiry in the past has deleted the key.
	local name = kind == 'E' and result[4] == -2 and 'del' or TYPES[kind]
	model = result.model or model
	if not open or open.type ~= name or open.model ~= model or open.epoch ~= result[3] then
		close_event()
		open = {type = name, model = model, epoch = result[3], seq = result[2], keys = {}}
	end
	if kind == 'C' or kind == 'A' then
		close_event()
	else
		open.keys[#open.keys + 1] = bulk(key)
	end
end

local results = {inc}
local blocked = false -- those that are set together
local allowed = 1     -- by the last guard
for i = FIRST, #KEYS do
	local at = args_of(i)
	local kind, flags, model, raw_model = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
	local key, expiry, result = KEYS[i], ARGV[at + 5], nil
	if kind == 'S' and (has(flags, 'a') or has(flags, 'b')) then
		if has(flags, 'b') then
			blocked = any_live(i)
		end
		if blocked then
			result = {0, 0, 0, -2, false}
		else
			flags = string.gsub(flags, 'n', '')
		end
	end
	if kind == 'S' and has(flags, 'q') and allowed ~= 1 then
		result = {allowed, 0, 0, -2, false}
	elseif kind == 'G' then
		allowed = guard(key, flags, model, raw_model, expiry, ARGV[at + 6], ARGV[at + 7], ARGV[at + 8])
		result = {allowed, 0, 0, -2, false}
	end
	if result then
		-- decided
	elseif kind == 'S' then
		result = set(key, flags, model, raw_model, expiry, ARGV[at + 6], ARGV[at + 7], ARGV[at + 8])
	elseif CHANGES[kind] then
		result = change(kind, key, flags, model, raw_model, expiry, ARGV[at + 6], ARGV[at + 7], ARGV[at + 8])
	elseif kind == 'F' then
		result = copy_from(key, flags, raw_model, KEYS[i + 1], ARGV[at + 10], ARGV[at + 12])
	elseif kind == 'T' then
		result = copy_to(key)
	elseif kind == 'D' then
		result = del(key, flags, raw_model)
	elseif kind == 'E' then
		result = expire(key, flags, raw_model, expiry)
	elseif kind == 'P' then
		result = persist(key, flags, raw_model)
	elseif kind == 'C' then
		result = clear_model(model, expiry)
	else
		redis.call('HDEL', state, '') -- as for a model
		seq = seq + 1
		result = {1, seq, 0, -2, false}
	end
	if not failed(result) and result[2] > 0 then
		tell(kind, model, key, result)
	end
	results[#results + 1] = result
end
close_event()

if #events > 0 then
	publish(table.concat(events))
end
return results
