"""Commands that are none of harcad's own are carried out by the upstream: as it would answer itself, on keys with the
prefix, in order with what the connection asked before and after, and copies of what they wrote are gone everywhere."""

import pytest

from fleet import PATIENT, PREFIX, STATE, frame_parts, in_step, prime, serves, start_fleet
from harcad_harness import RawConn, RespError, wait_until


OWN = b"harcad/"  # what the fleet keeps for itself


@pytest.fixture
def fleet(make_harcad, redis_server):
    return start_fleet(make_harcad, redis_server, 2)


@pytest.fixture
def conn(fleet):
    with fleet[0].raw() as conn:
        yield conn


# In this order, on what those before left behind. What they answer, and what they leave, is what Redis itself does.
SCRIPT = """
LPUSH l a b c
LRANGE l 0 -1
LPOP nothing
HSET h f 1 g 2
HGETALL h
HINCRBY h n 9223372036854775806
HGET h n
HMGET h f missing g
SADD s 1 2 3
SISMEMBER s 2
ZADD z 1.5 a 2 b
ZADD z x y
ZRANGE z 0 -1 WITHSCORES
ZUNIONSTORE z2 1 z
ZUNIONSTORE z2 2 z z WEIGHTS 1 1
ZUNIONSTORE 2 1 1
ZCARD z2
SORT l ALPHA LIMIT 0 2 STORE l2
SORT l BY nosort
LRANGE l2 0 -1
XADD st 1-1 a b
XGROUP CREATE st g 0
XINFO GROUPS st
XRANGE st - +
GEOADD geo 13.361389 38.115556 Palermo
GEORADIUS geo 15 37 200 km STORE geo2
GEOSEARCHSTORE geo3 geo FROMLONLAT 15 37 BYRADIUS 200 km
TYPE geo2
SETBIT bits 7 1
GETBIT bits 7
BITFIELD bits SET u8 0 5 GET u8 0
BITOP NOT nbits bits
GET nbits
PFADD hll a b c
PFCOUNT hll
LCS bits nbits
LPUSH bits x
LPUSH
LPUSH l
HSET h f
LMOVE l l2 LEFT RIGHT
SINTERSTORE s2 s s
EVAL return{KEYS[2],ARGV[1]} 2 l h x
EVAL return(redis.call('llen',KEYS[1])) 1 l
EVAL return{err='no'} 1 l
EVALSHA 0123456789012345678901234567890123456789 1 l
DUMP nothing
OBJECT ENCODING l
""".strip().splitlines()


def strip(reply):
    """Without the prefix, which scripts see."""
    if isinstance(reply, list):
        return [strip(part) for part in reply]
    return reply.removeprefix(PREFIX) if isinstance(reply, bytes) else reply


def test_replies_and_results_are_those_of_redis(conn, redis_server, make_redis):
    plain = make_redis()
    with RawConn(plain.address) as direct:
        for line in SCRIPT:
            ours, theirs = conn.command(*line.split()), direct.command(*line.split())
            assert (type(ours), strip(ours)) == (type(theirs), theirs) or str(ours) == str(theirs), line
    with redis_server.client() as behind, plain.client() as direct:
        ours = {key.removeprefix(PREFIX) for key in behind.keys() if not key.startswith(OWN)}
        assert ours == set(direct.keys())
        assert all(key.startswith(PREFIX) for key in behind.keys() if not key.startswith(OWN))
        for key in ours:
            assert behind.type(PREFIX + key) == direct.type(key)


def test_an_empty_prefix_leaves_names_alone_but_not_the_fleets_own(make_harcad, redis_server):
    node, = start_fleet(make_harcad, redis_server, 1, {"upstream.prefix": ""})
    with node.raw() as conn:
        assert conn.command("RPUSH", "l", "2", "1") == 2
        assert conn.command("SORT", "l", "BY", "w_*") == [b"1", b"2"]
        refused = conn.command("HSET", STATE, "seq", "0")
        assert isinstance(refused, RespError) and "fleet's own" in str(refused)
        refused = conn.command("SORT", "l", "STORE", STATE)
        assert isinstance(refused, RespError) and "fleet's own" in str(refused)


REFUSED = {
    "BLPOP l 0": "wait", "BRPOPLPUSH l m 0": "wait", "BZPOPMIN z 1": "wait", "WAIT 1 0": "wait",
    "XREAD BLOCK 0 STREAMS s 0": "wait", "XREADGROUP GROUP block c BLOCK 1 STREAMS s >": "wait",
    "SUBSCRIBE c": "shared", "PSUBSCRIBE c*": "shared", "PUBLISH c m": "shared", "SSUBSCRIBE c": "shared",
    "MONITOR": "as a whole", "DEBUG SLEEP 0": "as a whole", "REPLICAOF NO ONE": "as a whole",
    "CLUSTER INFO": "as a whole", "ACL WHOAMI": "as a whole", "MODULE LIST": "as a whole", "SAVE": "as a whole",
    "SWAPDB 0 1": "as a whole", "MOVE l 1": "as a whole", "BGREWRITEAOF": "as a whole", "FAILOVER": "as a whole",
    "READONLY": "state", "EVAL return(1) 0": "no key", "SCRIPT FLUSH": "no key", "LOLWUT": "no key",
    "SORT l BY w_*": "patterns", "SORT l GET # GET o_*": "patterns", "XGROUP NOPE s": "subcommand",
    "ZUNIONSTORE d 9 z": "where", "SORT l LIMIT 0 l STORE d": "keys",
}


@pytest.mark.parametrize("line, reason", REFUSED.items(), ids=REFUSED)
def test_what_is_not_passed_on_says_why(conn, redis_server, line, reason):
    reply = conn.command(*line.split())
    assert isinstance(reply, RespError)
    assert f"'{line.split()[0]}' is not passed on" in str(reply) and reason in str(reply)
    with redis_server.client() as behind:
        assert all(key.startswith(OWN) for key in behind.keys())
    assert conn.command("SET", "k", "v") == "OK" and conn.command("GET", "k") == b"v"


def test_what_nobody_knows_is_unknown(conn):
    reply = conn.command("FROBNICATE", "a", "b")
    assert str(reply) == "ERR unknown command 'FROBNICATE', with args beginning with: 'a' 'b' "
    assert "unknown command" in str(conn.command("X" * 5000))
    assert "unknown subcommand" in str(conn.command("CLIENT", "TRACKING", "ON"))


@pytest.mark.parametrize("settings, upstream", [({}, False), ({"upstream.pass_through": "no"}, True)],
                         ids=["embedded", "switched off"])
def test_without_pass_through_they_are_unknown(make_harcad, redis_server, settings, upstream):
    node = make_harcad({**PATIENT, **settings}, upstream=redis_server if upstream else None)
    with node.raw() as conn:
        assert "unknown command 'LPUSH'" in str(conn.command("LPUSH", "l", "x"))


# Each changes the string `k` behind harcad's back; what GET then says.
CHANGES = {
    "SETBIT k 0 1": b"\xefld",
    "BITOP NOT k k": bytes(255 - byte for byte in b"old"),
    "SORT l STORE k": "WRONGTYPE Operation against a key holding the wrong kind of value",
    "EVAL return(redis.call('set',KEYS[1],'new')) 1 k": b"new",
    "EVAL return(redis.call('del',KEYS[2])) 2 l k": None,
    "RESTORE k 0 %dump REPLACE": b"dumped",
}


def get(conn, key):
    reply = conn.command("GET", key)
    return str(reply) if isinstance(reply, RespError) else reply


@pytest.mark.parametrize("line, shown", CHANGES.items(), ids=CHANGES)
def test_P1_P3_a_change_is_shown_at_once_here_and_soon_by_the_others(fleet, redis_server, line, shown):
    with fleet[0].raw() as conn, fleet[1].raw() as other, redis_server.client() as behind:
        behind.set("d", "dumped")
        dump = behind.dump("d")
        behind.delete("d")
        assert conn.command("SET", "k", "old") == "OK" and conn.command("RPUSH", "l", "1") == 1
        for node in fleet:
            prime(node, "k")
        reply = conn.command(*(dump if word == "%dump" else word for word in line.split()))
        assert not isinstance(reply, RespError)
        assert get(conn, "k") == shown
        wait_until(lambda: get(other, "k") == shown)


WRITE_NEW = ("EVAL", "return redis.call('SET', KEYS[1], 'new')", "1", "k")


@pytest.fixture
def held(make_harcad, make_link_proxy, redis_server):
    """A daemon whose links can be held, with what it has to know of EVAL; `k` is `old`."""
    proxy = make_link_proxy(redis_server.address)
    # What is held must not look like a failure.
    node, = start_fleet(make_harcad, proxy.url, 1, {"upstream.timeout": "60s", "fleet.lease": "60s"})
    with node.raw() as conn:
        assert conn.command("EVAL", "return 1", "1", "other") == 1
        assert conn.command("SET", "k", "old") == "OK"
    yield node, proxy
    proxy.let_go()


def test_P1_the_own_copy_is_gone_before_the_own_event_comes(held):
    node, proxy = held
    prime(node, "k")
    proxy.hold("events")
    with node.raw() as conn:
        assert conn.command(*WRITE_NEW) == "OK"
        assert conn.command("GET", "k") == b"new"


def test_P1_P2_a_fill_in_flight_is_not_kept(held, redis_server):
    node, proxy = held
    with node.raw() as reader, node.raw() as writer, redis_server.client() as behind:
        assert writer.command("DEL", "k") == 1
        behind.set(PREFIX + b"k", "old")
        proxy.hold("events")
        proxy.hold("worker")
        reader.send(reader.encode("GET", "k"))
        proxy.wait_held("worker")  # Redis has answered
        writer.send(writer.encode(*WRITE_NEW) + writer.encode("GET", "k"))
        wait_until(lambda: behind.get(PREFIX + b"k") == b"new")
        proxy.let_go("worker")
        assert reader.read_reply() in (b"old", b"new")
        assert writer.read_reply() == "OK" and writer.read_reply() == b"new"
        for conn in (reader, writer):
            assert conn.command("GET", "k") == b"new"


def test_P3_siblings_hear_of_a_change_whose_reply_was_lost(make_harcad, redis_server):
    hasty = make_harcad({**PATIENT, "upstream.timeout": "300ms"}, upstream=redis_server)
    other, = start_fleet(make_harcad, redis_server, 1)
    in_step(hasty, other)
    with hasty.raw() as conn:
        assert conn.command("SET", "k", "old") == "OK"
        assert conn.command("LPUSH", "warm", "x") == 1
        assert conn.command("EVAL", "return 1", "1", "k") == 1
        prime(other, "k")
        redis_server.pause()
        try:
            reply = conn.command("EVAL", "return redis.call('SET', KEYS[1], 'new')", "1", "k")
            assert str(reply).startswith("UPSTREAMDOWN")
        finally:
            redis_server.resume()
    serves(other, "k", b"new")
    serves(hasty, "k", b"new")


def test_P3_changes_are_in_the_journal_without_a_hole(fleet, redis_server):
    with fleet[0].raw() as conn, redis_server.client() as behind:
        for i in range(10):
            assert conn.command("SET", "k", i) == "OK"
            assert conn.command("EVAL", "return 1", "3", "a", "b", "k") == 1
            assert conn.command("SETBIT", "bits", i, "1") == 0
        ids = [int(number.split(b"-")[0]) for number, _ in behind.xrange("harcad/harca/journal")]
        assert int(behind.hget(STATE, "seq")) == ids[-1] == 50
        assert [b - a for a, b in zip(ids, ids[1:])] == ([3, 1, 1] * 10)[:-1]


def test_it_keeps_its_place_among_the_connections_commands(fleet):
    with fleet[0].raw() as conn:
        for i in range(50):
            for command in (["SET", "k", f"a{i}"], ["EVAL", "return redis.call('GET', KEYS[1])", "1", "k"],
                            ["SET", "k", f"b{i}"], ["GETRANGE", "k", "0", "-1"], ["RPUSH", "l", str(i)], ["DEL", "l"],
                            ["LLEN", "l"], ["GET", "k"]):
                conn.send(conn.encode(*command))
        for i in range(50):
            replies = [conn.read_reply() for _ in range(8)]
            assert replies == ["OK", b"a%d" % i, "OK", b"b%d" % i, 1, 1, 0, b"b%d" % i]


def test_inside_a_transaction_they_are_queued_and_run_in_order(conn):
    assert conn.command("MULTI") == "OK"
    for command in (["RPUSH", "l", "a"], ["SET", "k", "v"], ["LRANGE", "l", "0", "-1"], ["GET", "k"], ["SETBIT", "k", "0", "0"]):
        assert conn.command(*command) == "QUEUED"
    assert conn.command("EXEC") == [1, "OK", [b"a"], b"v", 0]


@pytest.mark.parametrize("line, reason", {"NOSUCH x": "unknown command", "BLPOP l 1": "may wait",
                                          "HSET h": "wrong number of arguments"}.items())
def test_a_transaction_with_what_is_not_passed_on_does_nothing(conn, line, reason):
    assert conn.command("MULTI") == "OK"
    assert conn.command("SET", "k", "v") == "QUEUED"
    assert reason in str(conn.command(*line.split()))
    assert conn.command("HSET", "h", "f", "v") == "QUEUED"
    assert str(conn.command("EXEC")).startswith("EXECABORT")
    assert conn.command("GET", "k") is None and conn.command("HLEN", "h") == 0


def test_a_value_with_a_header_is_not_worked_on(fleet, redis_server):
    with fleet[0].raw() as conn, redis_server.client() as behind:
        assert conn.command("SET", "k", "v", "MODEL", "m") == "OK"
        stored = behind.get(PREFIX + b"k")
        for command in (["GETBIT", "k", "1"], ["SETBIT", "k", "1", "1"], ["BITOP", "NOT", "d", "k"]):
            assert "stored with its model" in str(conn.command(*command))
        assert behind.get(PREFIX + b"k") == stored and frame_parts(stored)[4] == b"v"
        # What has been cleared is not there, whatever Redis holds.
        assert conn.command("CLEAR", "MODEL", "m") == "OK"
        assert conn.command("LPUSH", "k", "x") == 1
        assert conn.command("SET", "j", "v", "MODEL", "m") == "OK" and conn.command("CLEAR", "MODEL", "m") == "OK"
        assert conn.command("SETBIT", "j", "1", "1") == 0 and conn.command("GET", "j") == b"\x40"
        assert "53 bits" in str(conn.command("BITFIELD", "b", "SET", "u63", "0", "1"))


def test_without_the_upstream_there_is_an_error_and_nothing_waits(make_harcad, redis_server):
    node, = start_fleet(make_harcad, redis_server, 1)
    with node.raw() as conn:
        assert conn.command("LPUSH", "l", "x") == 1
        redis_server.kill()
        wait_until(lambda: str(conn.command("LPUSH", "l", "x")).startswith("UPSTREAMDOWN"))
        assert conn.command("SET", "k", "v") == "OK"
        redis_server.restart(keep_data=False)
        # What was written here meanwhile is made up for first.
        wait_until(lambda: conn.command("SETBIT", "k", "0", "0") == 0)
        assert conn.command("PING") == "PONG"


def test_resp3_clients_are_answered_in_their_protocol(fleet):
    with fleet[0].raw() as conn:
        conn.command("HELLO", "3")
        conn.send(conn.encode("LPOP", "nothing"))
        assert conn.recv_line() == b"_"
        assert conn.command("HSET", "h", "a", "1") == 1
        assert conn.command("HGETALL", "h") == [b"a", b"1"]


def test_what_is_passed_on_is_counted_and_seen(fleet):
    with fleet[0].raw() as conn:
        assert conn.command("LPUSH", "l", "x") == 1
        assert conn.command("BLPOP", "l", "0")
    assert fleet[0].info()["passed_through"] == 1


def test_where_keys_of_the_upstream_s_commands_are_is_the_upstream_s_answer(fleet, conn, redis_server):
    calls = ("XGROUP CREATE s g 0", "EVAL x 2 a b c", "HSET h f 1", "ZUNIONSTORE d 2 a b", "XREAD STREAMS a b 0 0", "NOSUCH a", "HSET h")
    with RawConn(redis_server.address) as upstream:
        for call in calls:
            expected, found = (str(each.command("COMMAND", "GETKEYS", *call.split())) for each in (upstream, conn))
            assert found == expected, call
    assert conn.command("COMMAND", "GETKEYS", "GET", "a") == [b"a"]
