-- What goes before each script: how values are framed (proto/frame.h), and the epochs of models. KEYS[1] is the fleet's
-- state in all of them.
local MAGIC = '\245hc\1'
local DEFAULT = 'default'

local epochs = {}
local function epoch_of(model)
	if model == '' then
		model = DEFAULT
	end
	local epoch = epochs[model]
	if not epoch then
		epoch = tonumber(redis.call('HGET', KEYS[1], 'm:' .. model)) or 0
		epochs[model] = epoch
	end
	return epoch
end

-- As much of a value as its frame may take; a table if it is no string.
local function beginning(key)
	return redis.pcall('GETRANGE', key, 0, 286)
end

-- Of a value that begins so: the model, incarnation and epoch its frame names; nil of one that is raw.
local function frame_of(start)
	if #start < 32 or string.sub(start, 1, 4) ~= MAGIC then
		return nil
	end
	local _, _, model_len, _, frame_inc, epoch = struct.unpack('<BBHI8I4I4', start, 5)
	return string.sub(start, 33, 32 + model_len), frame_inc, epoch
end

