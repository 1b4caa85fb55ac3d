"""P1 and P5: writes that are under way together, when one of them has to be sent again and comes behind the others, or one
of them fails. Who is answered OK has written; keys end up as the last of their writes that was answered so left them."""

import pytest

from fleet import ONE_TURN, PREFIX, calls, cut_when_sent_again, frame_parts, in_step, serves, start_fleet
from harcad_harness import SLOW, wait_until


def large(i):
    """A value that goes as a transaction; three of them are what Redis reads at once, so that it answers in one piece."""
    return b"%d." % i + b"x" * 4000


class Order:
    """A daemon whose answers from Redis are held back, and a sibling before the Redis itself."""

    def __init__(self, make_harcad, make_link_proxy, redis, patience):
        self.proxy = make_link_proxy(redis.address)
        self.redis = redis
        self.upstream = redis.client()
        self.node, = start_fleet(make_harcad, self.proxy.url, 1, patience)
        self.sibling, = start_fleet(make_harcad, redis.url, 1, {"upstream.foreign_writes": "no", **patience})
        self.conn = self.node.raw()

    def reach(self, *command):
        """Sends it, and waits until Redis has had it, or refused it."""
        before = self.had()
        self.conn.send(self.conn.encode(*command))
        wait_until(lambda: self.had() > before, message=f"Redis has had {command[:2]}")

    def had(self):
        refused = self.upstream.info("errorstats").get("errorstat_OOM", "count=0")
        return calls(self.redis, "evalsha", "exec") + int(refused.partition("=")[2])

    def refute(self, *sets, model="m"):
        """These SETs, one batch, are made for an epoch that is over, which the daemon is not told yet."""
        self.proxy.hold("events")
        self.sibling.client().execute_command("CLEAR", "MODEL", model)
        self.proxy.hold("worker")
        before = self.had()
        self.conn.send(b"".join(self.conn.encode("SET", key, value, "MODEL", model) for key, value in sets))
        wait_until(lambda: self.had() > before)

    def forget(self, *commands):
        """These, one batch, find the script forgotten, which the daemon is not told yet; behind them it is known again."""
        self.proxy.hold("worker")
        self.upstream.script_flush()
        before = self.had()
        self.conn.send(b"".join(self.conn.encode(*command) for command in commands))
        wait_until(lambda: self.had() > before)
        assert self.sibling.client().set("loads", "it")

    def behind(self, *command):
        """Sends it, and Redis has it before anything that the daemon does for an answer it has not had; unless it waits."""
        self.conn.send(self.conn.encode(*command))
        assert self.node.client().ping()

    def full(self, is_full):
        self.upstream.config_set("maxmemory", "1" if is_full else "0")

    def answers(self, n):
        """With errors by their first word."""
        replies = [self.conn.read_reply() for _ in range(n)]
        return [str(reply).split()[0] if isinstance(reply, Exception) else reply for reply in replies]

    def has(self, key, value):
        stored = self.upstream.get(PREFIX + key.encode())
        frame = stored and frame_parts(stored)
        assert (frame or [stored])[-1] == value or value is None and frame[3] == 0, "of a model's first epoch"
        assert self.conn.command("GET", key) == value
        serves(self.sibling, key, value)
        self.proxy.let_go()
        in_step(self.node)
        assert self.conn.command("GET", key) == value

    def close(self):
        self.proxy.let_go()
        self.conn.close()
        self.upstream.close()


@pytest.fixture
def order(request, make_harcad, make_link_proxy, redis_server):
    patience = getattr(request, "param", {"upstream.timeout": "60s", "fleet.lease": "60s"})
    order = Order(make_harcad, make_link_proxy, redis_server, {**ONE_TURN, **patience})
    yield order
    order.close()


SOON_MADE_UP_FOR = pytest.mark.parametrize("order", [{"fleet.lease": f"{int(2 * SLOW)}s"}], indirect=True, ids=[""])


LATER = {
    "little": [b"little"],
    "large": [large(2)],
    "large of that model": [large(2), "MODEL", "m"],
    "with a TTL": [large(2), "PX", "100000"],
}


@pytest.mark.parametrize("later", LATER.values(), ids=LATER)
def test_p5_what_was_overtaken_by_a_write_that_fails_is_there(order, later):
    order.refute(("k", large(1)))
    order.full(True)
    order.reach("SET", "k", *later)
    order.full(False)
    order.proxy.let_go("worker")
    assert order.answers(2) == ["OK", "OOM"]
    order.has("k", large(1))


def test_p5_it_is_if_all_of_several_fail(order):
    order.refute(("before", large(1)), ("k", large(1)), ("behind", large(1)))
    order.full(True)
    for later in large(2), large(3), b"little":
        order.reach("SET", "k", later)
    order.full(False)
    order.proxy.let_go("worker")
    assert order.answers(6) == ["OK"] * 3 + ["OOM"] * 3
    for key in "before", "k", "behind":
        order.has(key, large(1))


@pytest.mark.parametrize("fails", [0, 1], ids=["first", "last"])
def test_p5_one_of_several_later_writes_is_enough(order, fails):
    order.refute(("k", large(1)))
    for i in range(2):
        order.full(i == fails)
        order.reach("SET", "k", large(2 + i))
    order.full(False)
    resent = calls(order.redis, "evalsha")
    order.proxy.let_go("worker")
    answers = ["OK", "OK", "OK"]
    answers[1 + fails] = "OOM"
    assert order.answers(3) == answers
    order.has("k", large(3 - fails))
    assert calls(order.redis, "evalsha") == resent, "nothing was sent again"


def test_p5_who_is_answered_with_an_error_has_not_written(order):
    """Nobody of these has: Redis stays full."""
    order.refute(("k", large(1)))
    order.full(True)
    order.reach("SET", "k", "little")
    order.proxy.let_go("worker")
    assert order.answers(2) == ["OOM", "OOM"]
    order.has("k", None)
    order.full(False)
    assert order.conn.command("SET", "k", "again") == "OK"
    order.has("k", b"again")


@pytest.mark.parametrize("by_another", [False, True], ids=["same connection", "another"])
def test_p1_what_comes_later_still_finds_what_was_overtaken_in_vain(order, by_another):
    """It is sent while nobody knows yet what becomes of the two before it, and waits for that."""
    order.refute(("k", large(1)), ("other", large(1)))
    order.full(True)
    order.reach("SET", "k", "little")
    order.full(False)
    order.proxy.pass_one("worker")
    wait_until(lambda: order.upstream.exists(PREFIX + b"other"), message="the other has been sent again")
    with order.node.raw() as other:
        conn = other if by_another else order.conn
        conn.send(conn.encode("APPEND", "k", "!") + conn.encode("GET", "k") + conn.encode("SET", "j", "x"))
        assert order.node.client().ping()  # by now it has had these, too
        order.proxy.let_go("worker")
        assert order.answers(3) == ["OK", "OK", "OOM"]
        whole = large(1) + b"!"
        assert [conn.read_reply() for _ in range(3)] == [len(whole), whole, "OK"]
    order.has("k", whole)


@SOON_MADE_UP_FOR
@pytest.mark.parametrize("later", [b"little", large(2)], ids=["little", "large"])
def test_p5_what_was_overtaken_is_queued_before_what_overtook_it(order, later):
    """The link ends when the one is to wait for the other, whose answer has not come."""
    order.refute(("k", large(1)), ("other", large(1)))
    order.reach("SET", "k", later)
    order.proxy.hold("control")  # nothing is made up for yet
    order.proxy.pass_one("worker")
    wait_until(lambda: order.upstream.exists(PREFIX + b"other"), message="the other has been sent again")
    order.proxy.cut_links("worker")
    assert order.answers(3) == ["OK", "OK", "OK"]
    assert order.conn.command("GET", "k") == later
    order.proxy.let_go()
    order.node.wait_info(queued_writes=0)
    order.has("k", later)


FORGOTTEN = {
    "SET, SET": (["SET", "k", "1"], ["SET", "k", "2"], "OK", "OK", b"2"),
    "SET, SET with a TTL": (["SET", "k", "1"], ["SET", "k", "2", "PX", "100000"], "OK", "OK", b"2"),
    "SET, large SET": (["SET", "k", "1"], ["SET", "k", large(2)], "OK", "OK", large(2)),
    "SET, SET GET": (["SET", "k", "1"], ["SET", "k", "2", "GET"], "OK", b"1", b"2"),
    "SET, APPEND": (["SET", "k", "1"], ["APPEND", "k", "2"], "OK", 2, b"12"),
    "SET, DEL": (["SET", "k", "1"], ["DEL", "k"], "OK", 1, None),
    "SET, PERSIST": (["SET", "k", "1", "PX", "100000"], ["PERSIST", "k"], "OK", 1, b"1"),
    "INCR, INCR": (["INCR", "k"], ["INCR", "k"], 1, 2, b"2"),
    "INCR, SET": (["INCR", "k"], ["SET", "k", "9"], 1, "OK", b"9"),
    "DEL, SET": (["DEL", "k"], ["SET", "k", "2"], 0, "OK", b"2"),
    "SET NX, SET": (["SET", "k", "1", "NX"], ["SET", "k", "2"], "OK", "OK", b"2"),
    "SET, RENAME": (["SET", "k", "1"], ["RENAME", "k", "j"], "OK", "OK", None),
    "SET, CLEAR MODEL": (["SET", "k", "1", "MODEL", "m"], ["CLEAR", "MODEL", "m"], "OK", "OK", None),
    "CLEAR MODEL, SET": (["CLEAR", "MODEL", "m"], ["SET", "k", "1", "MODEL", "m"], "OK", "OK", b"1"),
    "SET, FLUSHDB": (["SET", "k", "1"], ["FLUSHDB"], "OK", "OK", None),
}


@pytest.mark.parametrize("first, later, answer, later_answer, left", FORGOTTEN.values(), ids=FORGOTTEN)
def test_p1_writes_of_a_key_keep_their_order_when_the_script_is_known_again_between_them(
        order, first, later, answer, later_answer, left):
    order.forget(first)
    order.behind(*later)
    order.proxy.let_go("worker")
    assert order.answers(2) == [answer, later_answer]
    order.has("k", left)


def test_p1_both_find_the_script_forgotten(order):
    order.proxy.hold("worker")
    order.upstream.script_flush()
    for value in "123":
        order.behind("SET", "k", value)
    order.behind("APPEND", "k", "4")
    order.behind("GET", "k")
    order.proxy.let_go("worker")
    assert order.answers(5) == ["OK", "OK", "OK", 2, b"34"]
    order.has("k", b"34")


@pytest.mark.parametrize("order", [{"upstream.batch_max": "1", "upstream.timeout": "60s", "fleet.lease": "60s"}], indirect=True, ids=[""])
def test_p1_writes_of_a_key_do_not_go_in_two_calls_at_a_time_where_a_batch_is_full(order):
    order.proxy.hold("worker")
    before = order.had()
    order.conn.send(order.conn.encode("SET", "k", "1") + order.conn.encode("APPEND", "k", "2") + order.conn.encode("GET", "k"))
    order.behind("SET", "k", "3")
    wait_until(lambda: order.had() > before)
    assert order.had() == before + 1
    order.proxy.let_go()
    assert order.answers(4) == ["OK", 2, b"12", "OK"]
    order.has("k", b"3")


def test_p1_writes_of_two_connections_do_not_wait_for_each_other(order):
    """Nothing says which of them is first; each sees the other's as far as it was told of its own."""
    order.forget(["SET", "k", "1"])
    with order.node.raw() as other:
        other.send(other.encode("APPEND", "k", "2"))
        assert order.node.client().ping()
        wait_until(lambda: order.upstream.get(PREFIX + b"k") == b"2", message="it has been carried out already")
        order.proxy.let_go("worker")
        assert order.answers(1) == ["OK"] and other.read_reply() == 1
    order.has("k", b"1")


def test_p1_what_follows_a_refuted_value_waits_whoever_asks_for_it(order):
    """What the key held before is gone, and nobody may see that."""
    order.refute(("k", large(1)))
    with order.node.raw() as other:
        other.send(other.encode("APPEND", "k", "2") + other.encode("GET", "k") + other.encode("SET", "k", "3"))
        assert order.node.client().ping()
        order.proxy.let_go("worker")
        assert order.answers(1) == ["OK"]
        assert [other.read_reply() for _ in range(3)] == [len(large(1)) + 1, large(1) + b"2", "OK"]
    order.has("k", b"3")


NEXT = {"SET": (["SET", "k", "2"], "OK"), "large SET": (["SET", "k", large(2)], "OK"), "DEL": (["DEL", "k"], 1),
        "APPEND": (["APPEND", "k", "!"], None)}


@pytest.mark.parametrize("refuted", ["k", "j"], ids=["its own", "another's"])
@pytest.mark.parametrize("write, answer", NEXT.values(), ids=NEXT)
def test_p1_a_read_behind_a_refuted_value_is_not_shown_what_its_connection_writes_next(order, write, answer, refuted):
    order.upstream.set(PREFIX + b"k", "old")
    order.refute((refuted, large(1)))
    order.behind("GET", "k")
    order.behind(*write)
    order.proxy.let_go("worker")
    seen = large(1) if refuted == "k" else b"old"
    assert order.answers(3) == ["OK", seen, answer or len(seen) + 1]


@pytest.mark.parametrize("forgotten", ["k", "j"], ids=["its own", "another's"])
@pytest.mark.parametrize("write, answer", NEXT.values(), ids=NEXT)
def test_p1_nor_behind_one_whose_script_was_forgotten(order, write, answer, forgotten):
    order.upstream.set(PREFIX + b"k", "old")
    order.forget(["SET", forgotten, "1"])
    order.behind("GET", "k")
    order.behind(*write)
    order.proxy.let_go("worker")
    seen = b"1" if forgotten == "k" else b"old"
    assert order.answers(3) == ["OK", seen, answer or len(seen) + 1]


def test_p1_nor_behind_what_is_held_for_another_client(order):
    order.upstream.set(PREFIX + b"k", "old")
    order.refute(("j", large(1)))
    with order.node.raw() as other, order.node.raw() as mine:
        for conn, command in (other, ["APPEND", "j", "x"]), (mine, ["GET", "k"]), (mine, ["SET", "k", "2"]):
            conn.send(conn.encode(*command))
            assert order.node.client().ping()
        order.proxy.let_go("worker")
        assert [mine.read_reply() for _ in range(2)] == [b"old", "OK"]


@SOON_MADE_UP_FOR
@pytest.mark.parametrize("value", [b"1", large(1)], ids=["little", "large"])
@pytest.mark.parametrize("options", [[], ["MODEL", "m"]], ids=["raw", "framed"])
def test_p1_a_read_that_is_lost_with_the_write_before_it_finds_that(order, value, options):
    """The link ends under both: the one is queued, and the other answered from there."""
    order.proxy.hold("worker")
    order.proxy.hold("control")  # nothing is made up for yet
    order.reach("SET", "k", value, *options)
    order.behind("GET", "k")
    order.behind("MGET", "absent", "k")
    order.behind("SET", "k", "2")
    order.behind("GET", "k")
    order.proxy.cut_links("worker")
    assert order.answers(5) == ["OK", value, [None, value], "OK", b"2"]


@SOON_MADE_UP_FOR
def test_p5_what_comes_when_the_link_has_just_ended_is_queued_behind_what_was_under_way(order):
    order.proxy.hold("worker")
    order.proxy.hold("control")  # nothing is made up for yet
    order.reach("SET", "k", large(1))
    order.node.pause()
    order.proxy.cut_links("worker")
    order.conn.send(order.conn.encode("SET", "k", "2"))
    order.node.resume()
    assert order.answers(2) == ["OK", "OK"]
    assert order.conn.command("GET", "k") == b"2"
    order.proxy.let_go()
    order.node.wait_info(queued_writes=0)
    order.has("k", b"2")


@SOON_MADE_UP_FOR
@pytest.mark.parametrize("value", [b"2", large(2)], ids=["little", "large"])
def test_p5_what_was_held_for_one_is_queued_behind_all_that_is_under_way(order, value):
    """Its link ends: the first of these is known to be lost, and the others are not yet."""
    order.proxy.hold("worker")
    order.proxy.hold("control")  # nothing is made up for yet
    order.reach("SET", "j", large(1))
    order.reach("SET", "k", value)
    with order.node.raw() as other:
        other.send(other.encode("APPEND", "j", "!") + other.encode("SET", "k", "3"))
        assert order.node.client().ping()  # by now it has had these, too
        order.proxy.cut_links("worker")
        assert order.answers(2) == ["OK", "OK"]
        assert str(other.read_reply()).startswith("UPSTREAMDOWN") and other.read_reply() == "OK"
    assert order.conn.command("GET", "k") == b"3"
    order.proxy.let_go()
    order.node.wait_info(queued_writes=0)
    order.has("k", b"3")


@SOON_MADE_UP_FOR
def test_p5_what_was_held_is_queued_behind_what_it_was_held_for(order):
    order.proxy.hold("control")  # nothing is made up for yet
    order.proxy.hold("worker")
    order.reach("SET", "k", large(1))
    with order.node.raw() as other:
        other.send(other.encode("DEL", "k"))
        assert order.node.client().ping()  # by now it has had that, too
        order.proxy.cut_links("worker")
        assert order.answers(1) == ["OK"] and other.read_reply() in (0, 1)
    assert order.conn.command("GET", "k") is None
    order.proxy.let_go()
    order.node.wait_info(queued_writes=0)
    order.has("k", None)


def test_what_waits_for_its_turn_is_carried_out_although_its_client_has_gone(order):
    order.forget(["SET", "k", "1"])
    order.behind("APPEND", "k", "2")
    order.behind("SET", "j", "3")
    order.conn.close()
    wait_until(lambda: order.node.info()["connected_clients"] <= 2, message="the daemon has seen that")
    order.proxy.let_go("worker")
    wait_until(lambda: order.upstream.get(PREFIX + b"k") == b"12")


def lose_what_is_sent_again(order, model, arrives):
    """A value is refuted for a clear, and its link ends when it is on its way again; then all that was held goes on."""
    order.refute(("k", large(1)), model=model)
    order.proxy.hold("control")  # nothing is made up for yet
    again = cut_when_sent_again(order.proxy, large(1), arrives)
    order.proxy.let_go("worker")
    assert order.answers(1) == ["OK"]
    assert len(again) == 1 and order.node.info()["queued_writes"] == 1
    assert order.conn.command("GET", "k") == large(1)
    order.proxy.on_data = None
    order.proxy.let_go()
    order.node.wait_info(queued_writes=0)
    in_step(order.node)


@SOON_MADE_UP_FOR
@pytest.mark.parametrize("arrives", [False, True], ids=["before it arrives", "before its answer"])
@pytest.mark.parametrize("model", ["m", "default"])
def test_p5_a_refuted_value_whose_link_ends_came_after_the_clear_it_was_refuted_for(order, model, arrives):
    """That clear is heard of when the value is queued already, and has been answered. It had been carried out before."""
    lose_what_is_sent_again(order, model, arrives)
    order.has("k", large(1))
    assert frame_parts(order.upstream.get(PREFIX + b"k"))[3] == 1


@SOON_MADE_UP_FOR
@pytest.mark.parametrize("arrives", [False, True], ids=["before it arrives", "before its answer"])
def test_p4_but_not_if_it_was_computed_before(order, arrives):
    assert order.conn.command("GET", "k") is None
    lose_what_is_sent_again(order, "m", arrives)
    assert order.conn.command("GET", "k") is None
    serves(order.sibling, "k", None)


@SOON_MADE_UP_FOR
def test_p4_but_not_after_a_later_one(order):
    order.refute(("k", large(1)), ("other", large(1)))
    order.proxy.hold("control")  # nothing is made up for yet
    order.proxy.pass_one("worker")
    wait_until(lambda: order.upstream.exists(PREFIX + b"other"), message="it has been sent again")
    order.sibling.client().execute_command("CLEAR", "MODEL", "m")
    order.proxy.cut_links("worker")
    assert order.answers(2) == ["OK", "OK"]
    order.proxy.let_go()
    order.node.wait_info(queued_writes=0)
    in_step(order.node)
    for key in "k", "other":
        assert order.conn.command("GET", key) is None
        serves(order.sibling, key, None)


@SOON_MADE_UP_FOR
@pytest.mark.parametrize("write, left", [(["DEL", "k"], None), (["SET", "k", "later"], b"later")], ids=["DEL", "SET"])
def test_p5_an_expiry_does_not_bring_back_what_a_write_overtook(order, write, left):
    """Another client sets when a value expires that Redis has not been told of, while a write of the key is under way."""
    assert order.conn.command("SET", "k", "before") == "OK"
    order.proxy.hold("worker")
    order.reach("SET", "k", "told later")
    order.proxy.refuse_new("control")  # so that nothing is made up for
    order.proxy.cut_links("control")
    wait_until(lambda: "upstream_down link=harcad-control" in order.node.log())
    order.proxy.cut_links("worker")
    order.proxy.let_go("worker")
    assert order.answers(1) == ["OK"]
    order.node.wait_info(upstream_state="up", queued_writes=1)
    assert order.conn.command("SET", "j", "x") == "OK"  # the link's own first questions are answered
    order.proxy.hold("worker")
    order.reach(*write)
    with order.node.raw() as other:
        other.command("PEXPIRE", "k", "100000")
    order.proxy.let_go("worker")
    assert order.answers(1) == [1 if left is None else "OK"]
    order.proxy.refuse_new(None)
    order.node.wait_info(queued_writes=0)
    in_step(order.node)
    assert order.upstream.get(PREFIX + b"k") == left
    assert order.conn.command("GET", "k") == left
    serves(order.sibling, "k", left)
