"""P5 and P2 where numbers prove nothing: of what is queued here nobody can tell whether others have changed it since, be it
that nothing was heard of the fleet yet, or that the journal does not have what was missed."""

import pytest

from fleet import PREFIX, has_heard_all, in_step, prime, serves, start_fleet
from harcad_harness import CUT, wait_until
from outage import BRISK, JOURNAL, back, cut_off, down


@pytest.fixture
def newcomer(make_harcad, proxy):
    """One daemon that has heard nothing of the fleet yet: whatever it queues, nobody knows whether others have changed that."""
    proxy.refuse()
    node = make_harcad(BRISK, upstream=proxy.url)
    down(node)
    return node


def told_with(proxy, node, change):
    """The upstream is back; `change` is made while the first page that tells of k is under way. Until all has been told."""
    pages = []

    def in_between(direction, data, _):
        if direction == "up" and b"harca:k\r\n" in data:
            pages.append(data)
            if len(pages) == 1:
                change(node.client())

    proxy.on_data = in_between
    proxy.accept()
    wait_until(lambda: pages, message="it is told")
    node.wait_info(queued_writes=0)
    proxy.on_data = None


@pytest.mark.parametrize("there", [None, "before"], ids=["nothing", "a value"])
def test_p5_what_is_set_while_values_of_which_nobody_knows_are_told_reaches_the_fleet(redis_server, proxy, newcomer, there):
    """The first gives way to what is there; the second is younger than that."""
    if there:
        redis_server.client().set(PREFIX + b"k", there)
    with newcomer.raw() as conn:
        assert conn.command("SET", "k", "first") == "OK"
        told_with(proxy, newcomer, lambda client: client.set("k", "second"))
        assert redis_server.client().get(PREFIX + b"k") == b"second"
        serves(newcomer, "k", b"second")


def test_p5_an_expiry_while_values_of_which_nobody_knows_are_told_reaches_the_fleet(redis_server, proxy, newcomer):
    with newcomer.raw() as conn:
        assert conn.command("SET", "k", "v") == "OK"
        told_with(proxy, newcomer, lambda client: client.expire("k", 1000))
    assert redis_server.client().get(PREFIX + b"k") == b"v"
    assert 0 < redis_server.client().ttl(PREFIX + b"k") <= 1000


def test_p5_a_value_of_which_nobody_knows_whether_it_has_been_told_stays(redis_server, proxy, newcomer):
    """The answer is lost, but its event says that it is there."""
    pages = []

    def cut(direction, data, number):
        if direction == "up" and b"harca:k\r\n" in data and not pages:
            pages.append(number)
        return CUT if direction == "down" and pages and number == pages[0] else None

    with newcomer.raw() as conn:
        assert conn.command("SET", "k", "v") == "OK"
        proxy.on_data = cut
        proxy.accept()
        wait_until(lambda: pages, message="it is told")
        newcomer.wait_info(queued_writes=0)
        proxy.on_data = None
    assert redis_server.client().get(PREFIX + b"k") == b"v"


def lose_journal(redis, sibling):
    """Of what was changed before nobody can hear any more, but that something was."""
    sibling.client().set("other", "x")
    assert redis.client().delete(JOURNAL) == 1


def knows_of_a_loss(node):
    wait_until(lambda: "journal" in node.log().rpartition("fleet_copies_suspect")[2], message="it knows that it cannot know")


def is_written_down(node):
    """Up to where the fleet has been heard of, once that is another than before: nothing else comes into these files."""
    before = node.info()["file_written_bytes"]
    wait_until(lambda: node.info()["file_written_bytes"] > before, message="its state is in the files")


def set_after_a_loss(proxy, redis, node, sibling, conn):
    """One value of k comes onto the queue before, another after the daemon knows that there are changes which it has missed."""
    cut_off(proxy, node)
    assert conn.command("SET", "k", "one") == "OK"
    lose_journal(redis, sibling)
    proxy.refuse_new("worker")
    proxy.on_data = lambda direction, data, _: CUT if direction == "up" and b"replication\r\n" in data else None
    proxy.accept()
    knows_of_a_loss(node)
    assert conn.command("SET", "k", "two") == "OK"
    assert node.info()["queued_writes"] == 1


def all_is_told(proxy, node):
    proxy.on_data = None
    proxy.refuse_new()
    in_step(node)
    node.wait_info(queued_writes=0)


@pytest.mark.parametrize("killed", [False, True], ids=["lives on", "is killed"])
def test_p2_what_may_have_been_overtaken_does_not_overtake_after_a_kill(redis_server, proxy, node, make_harcad, killed):
    """The queue's file knows what the daemon knew: that there are changes of which nothing was heard."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    is_written_down(node)
    cut_off(proxy, node)
    with node.raw() as conn:
        assert conn.command("SET", "k", "mine") == "OK"
    sibling.client().set("k", "theirs")
    lose_journal(redis_server, sibling)
    proxy.on_data = lambda direction, data, _: CUT if direction == "up" and b"harca:k\r\n" in data else None
    proxy.accept()
    knows_of_a_loss(node)
    is_written_down(node)
    assert node.info()["queued_writes"] == 1
    if killed:
        node.kill()
    proxy.on_data = None
    if killed:
        node.start()
    in_step(node)
    node.wait_info(queued_writes=0)
    assert redis_server.client().get(PREFIX + b"k") != b"mine"


@pytest.mark.parametrize("command", [["LPUSH", "k", "x"], ["SET", "k", "base"]], ids=["nothing is changed", "the same is set"])
def test_p5_what_is_set_after_a_loss_replaces_what_was_there_before_and_not_what_is_set_then(
        redis_server, proxy, node, make_harcad, command):
    """Whichever it is, the upstream has the same bytes. (What is passed on is told to the fleet whatever comes of it.)"""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    sibling.client().set("k", "base")
    has_heard_all(node, redis_server.client())
    prime(node, "k")
    with node.raw() as conn, sibling.raw() as theirs:
        set_after_a_loss(proxy, redis_server, node, sibling, conn)
        is_set = theirs.command(*command) == "OK"
        assert redis_server.client().get(PREFIX + b"k") == b"base"
        all_is_told(proxy, node)
    assert redis_server.client().get(PREFIX + b"k") == (b"base" if is_set else b"two")


def test_p2_a_value_that_another_deleted_before_a_loss_does_not_come_back(redis_server, proxy, node, make_harcad):
    """The delete is heard of, and what came after it is not: that nothing is there is no reason to write."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    cut_off(proxy, node)
    with node.raw() as conn:
        assert conn.command("SET", "k", "mine") == "OK"
    sibling.client().set("k", "theirs")
    sibling.client().delete("k")
    proxy.refuse_new("worker")
    proxy.on_data = lambda direction, data, _: CUT if direction == "up" and b"replication\r\n" in data else None
    proxy.accept()
    has_heard_all(node, redis_server.client())
    cut_off(proxy, node)
    lose_journal(redis_server, sibling)
    proxy.accept()
    knows_of_a_loss(node)
    all_is_told(proxy, node)
    assert redis_server.client().get(PREFIX + b"k") is None


def test_p2_a_value_that_may_have_been_told_does_not_come_back_over_what_was_there_before(redis_server, proxy, node, make_harcad):
    """It was told, and a sibling, which saw it, set what had been there before; of neither of which anything is heard."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    sibling.client().set("k", "base")
    has_heard_all(node, redis_server.client())
    prime(node, "k")
    cut_off(proxy, node)
    pages = []

    def cut(direction, data, number):
        if direction == "up" and b"harca:k\r\n" in data and not pages:
            pages.append(number)
        return CUT if direction == "down" and pages else None

    with node.raw() as conn:
        assert conn.command("SET", "k", "mine") == "OK"
        lose_journal(redis_server, sibling)
        proxy.on_data = cut
        proxy.accept()
        wait_until(lambda: pages, message="it is told")
        proxy.refuse()
        serves(sibling, "k", b"mine")
        sibling.client().set("k", "base")
        lose_journal(redis_server, sibling)
        proxy.on_data = None
        back(proxy, node)
        assert redis_server.client().get(PREFIX + b"k") != b"mine"
