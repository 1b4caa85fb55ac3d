"""Messages that vanish on a link that stays: which of them, and that the rest goes on whole."""

from checker.proxy import MESSAGE, FaultProxy, end_of_reply


def message(*words):
    return MESSAGE + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def test_the_end_of_a_reply_is_found_once_it_is_there():
    for reply in [b"+OK\r\n", b":12\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"$0\r\n\r\n", message(b"channel", b"a\r\nb"),
                  b"*2\r\n*1\r\n$1\r\na\r\n:1\r\n"]:
        assert end_of_reply(b"+before\r\n" + reply + b"+behind\r\n", 9) == 9 + len(reply)
        assert [end_of_reply(reply[:n], 0) for n in range(len(reply))] == [None] * len(reply)


def passed_on(*pieces, first=None):
    proxy = FaultProxy(("127.0.0.1", 1), "seed")
    if first is not None:
        proxy.swallow(first)
    passed = b"".join(proxy._without_swallowed(1, piece) for piece in pieces)
    proxy._loop.close()
    return passed


def test_swallowed_messages_are_those_of_pub_sub_from_the_first_that_was_meant():
    one, other, pong = message(b"c", b"1\r\nharca:a\r\n"), message(b"c", b"1\r\nharca:w\r\n"), b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
    stream = one + pong + other + pong + one
    assert passed_on(stream) == stream
    assert passed_on(stream, first=()) == pong + pong
    assert passed_on(stream, first=("w",)) == one + pong + pong
    pieces = [stream[i:i + 7] for i in range(0, len(stream), 7)]
    assert passed_on(*pieces, first=("w",)) == one + pong + pong
