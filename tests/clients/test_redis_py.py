"""redis-py, Debian's python3-redis, as an application that keeps vectors uses it: threads and asyncio."""

import asyncio

import pytest
import redis
import redis.asyncio
from redis.exceptions import AuthenticationError, ResponseError, WatchError

from fleet import in_threads
from harcad_harness import TIMEOUT, wait_until
from values import vector


@pytest.fixture
def client(scene):
    with scene.daemon.client(client_name="app") as client:
        yield client


def test_redis_py_vectors_come_back_byte_for_byte(client):
    assert client.ping() is True
    assert client.client_getname() == "app"
    for i in range(16):
        assert client.set(f"vec:{i}", vector(i)) is True
    assert [client.get(f"vec:{i}") for i in range(16)] == [vector(i) for i in range(16)]
    assert client.mget("vec:3", "none", "vec:5") == [vector(3), None, vector(5)]
    assert client.mset({"a": vector(1), b"\x00\xff\r\n": "binary key"}) is True
    assert client.get(b"\x00\xff\r\n") == b"binary key"
    assert client.getrange("vec:3", 10, 19) == vector(3)[10:20]
    assert client.strlen("vec:3") == 4096


def test_redis_py_keys_expire(client):
    client.set("a", "x", ex=100)
    assert 90 < client.ttl("a") <= 100
    client.setex("b", 50, "x")
    assert client.pexpire("b", 90_000) is True
    assert client.pttl("b") > 80_000
    assert client.persist("b") is True
    assert client.ttl("b") == -1
    client.psetex("c", 30, "x")
    wait_until(lambda: client.get("c") is None)
    assert client.set("a", "y", keepttl=True, get=True) == b"x"
    assert client.set("a", "z", nx=True) is None
    assert client.getex("a", persist=True) == b"y"
    assert client.getdel("a") == b"y"


def test_redis_py_pipelines_and_transactions(client):
    with client.pipeline(transaction=False) as pipe:
        for i in range(500):
            pipe.set(f"pipe:{i}", vector(i)).get(f"pipe:{i}")
        replies = pipe.execute()
    assert replies == [each for i in range(500) for each in (True, vector(i))]
    with client.pipeline() as pipe:
        assert pipe.set("tx", 1).incr("tx").get("tx").execute() == [True, 2, b"2"]
        pipe.set("tx", "text").incr("tx").get("tx")
        assert [type(each) for each in pipe.execute(raise_on_error=False)] == [bool, ResponseError, bytes]
        with pytest.raises(ResponseError, match="unknown command"):
            pipe.set("tx", 7).execute_command("NOSUCH").execute()
    assert client.get("tx") == b"text"


def test_redis_py_watches_keys_or_is_told_why_not(scene, client):
    client.set("n", 0)
    if not scene.can_watch:
        with pytest.raises(ResponseError, match="WATCH is for daemons without an upstream"):
            client.transaction(lambda pipe: None, "n")
        return

    def increment():
        with scene.daemon.client() as own:
            def add(pipe):
                value = int(pipe.get("n"))
                pipe.multi()
                pipe.set("n", value + 1)

            for _ in range(50):
                own.transaction(add, "n")

    in_threads(increment, increment, increment)
    assert client.get("n") == b"150"
    with client.pipeline() as pipe:
        pipe.watch("n")
        client.set("n", 1)
        pipe.multi()
        with pytest.raises(WatchError):
            pipe.set("n", 2).execute()


def test_redis_py_scans_to_the_end(client):
    client.mset({f"scan:{i}": i for i in range(1000)})
    client.set("other", 1)
    assert set(client.scan_iter("scan:*", count=100)) == {b"scan:%d" % i for i in range(1000)}
    assert len(client.keys("scan:99*")) == 11
    assert client.dbsize() == 1001


def test_redis_py_errors_are_redis_s_own(scene, client):
    with pytest.raises(ResponseError, match=r"^unknown command 'NOSUCH', with args beginning with: 'a' $"):
        client.execute_command("NOSUCH", "a")
    with pytest.raises(ResponseError, match="^wrong number of arguments for 'get' command$"):
        client.execute_command("GET")
    client.set("text", "x")
    with pytest.raises(ResponseError, match="^value is not an integer or out of range$"):
        client.incr("text")
    if scene.upstream:
        with scene.upstream.client() as behind:
            behind.rpush("harca:list", 1)
        with pytest.raises(ResponseError, match="^WRONGTYPE Operation against a key holding the wrong kind of value$"):
            client.get("list")
    assert client.ping()


def test_redis_py_locks_fail_in_words(scene, client):
    """They are taken by SET NX, which is there, and given back by a script, which is not: a lock of this client ends
    when its time is over, or by DEL."""
    if scene.on_redis or scene.upstream:
        pytest.skip("Redis has scripts, and a fleet passes them on")
    with pytest.raises(ResponseError, match="unknown command 'EVALSHA'|unknown command 'SCRIPT'"):
        with client.lock("lock", timeout=5):
            assert client.get("lock") is not None
    assert 0 < client.ttl("lock") <= 5
    assert client.lock("lock", timeout=5).acquire(blocking=False) is False
    with pytest.raises(ResponseError, match="unknown command 'EVAL'|not passed on"):
        client.eval("return 1", 0)


def test_redis_py_subscribing_fails_in_words(scene, client):
    if scene.on_redis:
        pytest.skip("Redis has channels")
    with pytest.raises(ResponseError, match="unknown command 'SUBSCRIBE'|not passed on"):
        with client.pubsub() as channel:
            channel.subscribe("news")
            channel.get_message(timeout=TIMEOUT)
    with pytest.raises(ResponseError, match="unknown command 'PUBLISH'|not passed on"):
        client.publish("news", "x")


def test_redis_py_authenticates(scene):
    with redis.Redis(port=scene.locked.port, password=None) as none, pytest.raises(AuthenticationError, match="Authentication required"):
        none.get("a")
    with redis.Redis(port=scene.locked.port, password="wrong") as wrong, pytest.raises(ResponseError, match="WRONGPASS"):
        wrong.get("a")
    for given in ({}, {"username": "default"}):
        with redis.Redis(port=scene.locked.port, password="s3cret", **given) as right:
            assert right.set("a", 1)
    with redis.from_url(f"redis://:s3cret@127.0.0.1:{scene.locked.port}/0") as right:
        assert right.get("a") == b"1"


def test_redis_py_comes_back_after_the_daemon_has_closed_the_connection(scene, client):
    client.set("kept", vector(1))
    mine = client.client_id()
    with scene.daemon.client() as killer:
        assert killer.client_kill_filter(_id=mine) == 1
        assert client.get("kept") == vector(1)
        assert client.client_id() != mine
        assert client.client_getname() == "app"
        assert not [each for each in killer.client_list() if each["id"] == str(mine)]


def test_redis_py_unix_socket_pool_and_decoding(scene):
    pool = redis.ConnectionPool(connection_class=redis.UnixDomainSocketConnection, path=scene.daemon.unix_path, max_connections=4,
                                decode_responses=True, health_check_interval=1)
    with redis.Redis(connection_pool=pool) as client:
        in_threads(*[lambda i=i: [client.set(f"pool:{i}:{j}", "grüße") for j in range(50)] for i in range(4)])
        assert client.get("pool:3:49") == "grüße"
        assert sorted(client.scan_iter("pool:0:*")) == sorted(f"pool:0:{j}" for j in range(50))
    pool.disconnect()


def test_redis_py_tells_what_operators_ask(client):
    client.set("a", vector(1))
    info = client.info()
    assert info["redis_version"].startswith("7.") and info["used_memory"] > 0 and "db0" in info
    assert client.info("everything")["role"] == "master"
    assert client.config_get("max*")["maxclients"]
    assert client.memory_usage("a") > 4096
    assert client.object("encoding", "a") in (b"raw", "raw")
    assert client.slowlog_len() >= len(client.slowlog_get(1)) >= 0
    assert "get" in client.command()
    assert client.time()[0] > 1_700_000_000
    assert client.client_list()[0]["name"] is not None
    assert client.config_resetstat() is True


def test_redis_py_names_models(scene, client):
    if scene.on_redis:
        pytest.skip("Redis has no models")
    client.execute_command("SET", "m:1", vector(1), "MODEL", "minilm")
    assert client.execute_command("MODEL", "OF", "m:1") == b"minilm"
    assert client.execute_command("GET", "m:1", "MODEL", "other") is None
    client.set("emb:e5@v2:17", "x")
    assert client.execute_command("MODEL", "OF", "emb:e5@v2:17") == b"e5@v2"
    with scene.daemon.client(single_connection_client=True) as own:
        assert own.execute_command("MODEL", "USE", "gte") in (True, b"OK")
        own.set("m:2", "x")
    assert client.execute_command("MODEL", "OF", "m:2") == b"gte"
    client.execute_command("CLEAR", "MODEL", "minilm")
    assert (client.get("m:1"), client.get("m:2")) == (None, b"x")


def test_redis_py_asyncio_holds_a_session(scene):
    async def session():
        async with redis.asyncio.Redis(port=scene.daemon.port, client_name="async", socket_timeout=TIMEOUT) as client:
            assert await client.ping()
            await asyncio.gather(*[client.set(f"vec:{i}", vector(i), ex=100) for i in range(64)])
            assert await asyncio.gather(*[client.get(f"vec:{i}") for i in range(64)]) == [vector(i) for i in range(64)]
            async with client.pipeline(transaction=True) as pipe:
                assert await pipe.set("tx", 1).incr("tx").execute() == [True, 2]
            assert {key async for key in client.scan_iter("vec:*", count=10)} == {b"vec:%d" % i for i in range(64)}
            with pytest.raises(ResponseError, match="not an integer"):
                await client.incr("vec:1")
        async with redis.asyncio.Redis(unix_socket_path=scene.daemon.unix_path, decode_responses=True) as near:
            assert await near.get("tx") == "2"
        async with redis.asyncio.Redis(port=scene.locked.port) as locked:
            with pytest.raises(AuthenticationError):
                await locked.get("a")

    asyncio.run(session())
