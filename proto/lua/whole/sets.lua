-- What goes behind the SETs of a batch, in one transaction with them: they are numbered, the fleet is told of them in one
-- message, and the journal keeps that. It does what write.lua does in its short form, for values that are better kept
-- out of Lua, where each is copied and hashed to the last byte whenever it is touched.
--
-- Sent whole each time: an EVALSHA might find the script forgotten when the values are there already, and nobody told.
-- The server hashes all of it twice, so it has few words, short ones, and goes without these.
--
-- All values are of one model, and as they should be if the fleet's state is the one that the daemon supposes. If it is
-- another (of a later epoch, or begun anew), they are deleted, and the daemon sends them again by write.lua. That is
-- numbered and told of like any change, since what the keys held before is gone too. Frames whose number turns out to be
-- another are put right.
--
-- Where the state cannot be used (no hash, or no number in it) nothing is numbered: the values go, and nobody is told, as
-- with an eviction.
--
-- KEYS     the fleet's state, the journal: as write.lua has them
-- ARGV     w  channel
--          q  how many values there are
--          p  their keys, packed
--          b  the event up to the length of its number
--          e  what of it is behind its number
--          j  about how many messages the journal keeps; '0': there is none
--          i  the incarnation supposed
--          d  the model's field in the state, 'm:<model>'
--          t  its epoch supposed
--          r  the first number that the frames bear; missing when values are raw
-- Returns  the first number, n; the same below zero when the state is another, and they are gone. Or an error: they are
--          gone, too
--
-- h is what the state holds, o whether that is as supposed, x the number as text. The journal is begun anew where what
-- is there is none. Where a frame has expired already, SETRANGE makes a key of it that is too short to be one.
local c,k,u,w,q,p,b,e,j,i,d,t,r,l,h,n,o,x=redis.pcall,KEYS,cmsgpack.unpack,unpack(ARGV)
l=c('HINCRBY',k[1],'seq',q)
h=c('HMGET',k[1],'inc',d,'seq')
n=tonumber(l)
o=n and h[1]==i and(h[2]or'0')==t
if not o then
	c('DEL',u(p))
end
if not n then
	return l
end
n=n-q+1
x=('%d'):format(n)
b=b..#x..'\r\n'..x..e
while j~='0'and c('XADD',k[2],'MAXLEN','~',j,h[3]..'-0','e',b).err and c('DEL',k[2])==1 do
end
c('PUBLISH',w,b)
if o and r and r~=x then
	for i,v in ipairs{u(p)}do
		if c('SETRANGE',v,8,struct.pack('<I8',n+i-1))<32 then
			c('DEL',v)
		end
	end
end
return o and n or-n
