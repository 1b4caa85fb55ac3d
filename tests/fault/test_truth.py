"""The upstream's own story, understood from the lines of MONITOR."""

import struct

from checker.truth import Monitor, Timeline, is_valid, unescape

MAGIC = b"\xf5hc\x01"


def frame(model, seq, epoch, value, incarnation=7):
    return MAGIC + struct.pack("<BBHQIIII", 1, 0, len(model), seq, incarnation, epoch, len(value), 0) + model + value


def escaped(data):
    return "".join(f"\\x{byte:02x}" for byte in data)


SCRIPT = '+{at} [0 127.0.0.1:5000] "EVALSHA" "94a7" "2" "harcad/harca/state" "harca:k" "harcad/harca/events" "d1.3" "0" "1" "S"'
NAME = '+{at} [0 127.0.0.1:5000] "CLIENT" "SETNAME" "harcad-worker-0"'


PASS = '+{at} [0 127.0.0.1:5000] "EVAL" "local HEAD" "3" "state" "journal" "harca:k" "events" "d1.3" "0" "1" "0" "w"'


def understood(*lines):
    monitor = Monitor()
    monitor.offset = 0.0
    monitor.lines = [line if callable(line) else line.format(at=f"{at}.000000").encode() for at, line in enumerate(lines)]
    return Timeline(monitor, ["k"])


def test_escaped_bytes_are_read_back():
    assert unescape(rb"a\x00\xff\"\\\n") == b'a\x00\xff"\\\n'


def test_a_raw_value_is_of_the_default_model_and_tells_whose_it_is():
    change, = understood(NAME, SCRIPT, '+{at} [0 lua] "SET" "harca:k" "v12.\\x00" "PX" "5000"').changes["k"]
    assert (change.value, change.model, change.instance, change.link, change.link_since) == \
        (12, "default", "d1.3", "harcad-worker-0", 0.0)
    assert (change.pos, change.at, change.expires) == (2, 2.0, 7.0)


def test_a_frame_tells_its_model():
    change, = understood(SCRIPT, f'+{{at}} [0 lua] "SET" "harca:k" "{escaped(frame(b"m", 3, 0, b"v5."))}"').changes["k"]
    assert (change.value, change.model) == (5, "m")


def test_deletes_and_clears_end_a_value():
    story = understood('+{at} [0 lua] "SET" "harca:k" "v1."', '+{at} [0 lua] "HINCRBY" "harcad/harca/state" "m:default" "1"',
                       '+{at} [0 lua] "DEL" "harca:k"', '+{at} [0 127.0.0.1:1] "UNLINK" "other" "harca:k"')
    assert [c.value for c in story.changes["k"]] == [1, None, None]
    assert story.ended_by(story.changes["k"][0]).model == "default"
    assert story.current("k", 1.0).value == 1 and story.current("k", 2.0).value is None


def test_a_restored_value_stands_at_its_new_place():
    def restored(timeline, pos):
        timeline.had(pos, 3.0, "k", b"v1.", restored=True)

    story = understood('+{at} [0 lua] "SET" "harca:k" "v1."', '+{at} [0 lua] "SET" "harca:k" "v2."', restored)
    assert story.latest(1, 9.0).pos == 2 and story.latest(1, 9.0, restored=False).pos == 0
    assert story.earliest(1, 9.0).pos == 0 and story.latest(2, 0.5) is None


def test_flushall_ends_everything_and_a_clear_all_is_noted():
    story = understood('+{at} [0 lua] "SET" "harca:k" "v1."', '+{at} [0 127.0.0.1:1] "FLUSHALL"', SCRIPT,
                       '+{at} [0 lua] "PUBLISH" "harcad/harca/events" "*7\\r\\n$1\\r\\n1\\r\\n$9\\r\\nclear-all\\r\\n"')
    assert story.ended_by(story.changes["k"][0]).pos == 1
    assert story.flushes == [(3, 3.0, "d1.3")]


def test_what_a_reader_would_not_be_given_is_not_valid():
    assert is_valid("k", b"v1.", {}, 7) and not is_valid("k", b"v1.", {"default": 1}, 7)
    assert is_valid("of:m:0", b"v1.", {"default": 1}, 7) and not is_valid("of:m:0", b"v1.", {"m": 1}, 7)
    assert is_valid("k", frame(b"m", 1, 2, b"v1."), {"m": 2}, 7)
    assert not is_valid("k", frame(b"m", 1, 2, b"v1."), {"m": 3}, 7)
    assert not is_valid("k", frame(b"m", 1, 2, b"v1."), {"m": 2}, 8)


def test_what_is_written_past_the_daemons_is_known_by_its_connection():
    theirs, ours = understood('+{at} [0 127.0.0.1:1] "CLIENT" "SETNAME" "outsider"', '+{at} [0 127.0.0.1:1] "SET" "harca:k" "v1."',
                              SCRIPT, '+{at} [0 lua] "SET" "harca:k" "v2."').changes["k"]
    assert theirs.foreign and not ours.foreign


def test_what_was_passed_on_is_known_by_the_daemons_script_before_it():
    story = understood(NAME, '+{at} [0 127.0.0.1:5000] "MULTI"', PASS, '+{at} [0 lua] "HMGET" "state" "inc" "seq"',
                       '+{at} [0 127.0.0.1:5000] "EVAL" "return 1" "1" "harca:k" "v3."', '+{at} [0 lua] "SET" "harca:k" "v3."')
    change, = story.changes["k"]
    assert (change.value, change.instance) == (3, "d1.3")
    assert story.passed["k"] == [4.0]
