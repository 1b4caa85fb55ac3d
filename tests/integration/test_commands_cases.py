"""What each command of strings and keys replies, byte for byte, its errors too. The table is proven by a real Redis,
which must reply the same; what only harcad has is in a table of its own."""

import time

import pytest

from wire import Err, Near, Simple, encode_reply, started

OK = Simple("OK")
SYNTAX = Err("ERR syntax error")
NOT_INT = Err("ERR value is not an integer or out of range")
WRONGTYPE = Err("WRONGTYPE Operation against a key holding the wrong kind of value")
NX_WITH_OTHERS = Err("ERR NX and XX, GT or LT options at the same time are not compatible")
GT_WITH_LT = Err("ERR GT and LT options at the same time are not compatible")
OVERFLOW = Err("ERR increment or decrement would overflow")
NOT_FLOAT = Err("ERR value is not a valid float")
NAN_OR_INF = Err("ERR increment would produce NaN or Infinity")
BAD_OFFSET = Err("ERR offset is out of range")
TOO_LONG = Err("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
NO_KEY = Err("ERR no such key")
SAME_KEY = Err("ERR source and destination objects are the same")
MAX = 2**63 - 1
NOW = int(time.time())
LATER = NOW + 10_000_000  # in seconds
BINARY = b"\x00\r\n$5\r\n\xff\xf5hc\x01"
LARGE = bytes(range(256)) * 400


def arity(command):
    return Err(f"ERR wrong number of arguments for '{command}' command")


def bad_expire(command):
    return Err(f"ERR invalid expire time in '{command}' command")


def unsupported(option):
    return Err(f"ERR Unsupported option {option}")


def cases(*rows):
    return [pytest.param(row[1:], id=row[0]) for row in rows]


# Each row: a name, then steps of a command (words, or a tuple of arguments) and its reply.
STRINGS = cases(
    ("get_absent_is_null", ("GET a", None)),
    ("get_returns_what_was_set", ("SET a 1", OK), ("GET a", b"1"), ("get a", b"1")),
    ("get_wrong_arity", ("GET", arity("get")), ("GET a b", arity("get")), ("GET a b c", arity("get")),
     ("GET a b c d", arity("get"))),
    ("get_binary_key_and_value", (("SET", BINARY, BINARY), OK), (("GET", BINARY), BINARY), (("STRLEN", BINARY), len(BINARY))),
    ("get_empty_key_and_value", (("SET", "", ""), OK), (("GET", ""), b""), (("STRLEN", ""), 0), (("EXISTS", ""), 1)),
    ("get_large_value", (("SET", "a", LARGE), OK), ("GET a", LARGE), ("STRLEN a", len(LARGE)), ("MGET a a", [LARGE, LARGE])),
    ("set_wrong_arity", ("SET", arity("set")), ("SET a", arity("set"))),
    ("set_overwrites_and_takes_the_expiry_away", ("SET a 1 EX 100", OK), ("SET a 2", OK), ("GET a", b"2"), ("TTL a", -1)),
    ("set_nx_on_absent", ("SET a 1 NX", OK), ("GET a", b"1")),
    ("set_nx_on_present", ("SET a 1", OK), ("SET a 2 nx", None), ("GET a", b"1")),
    ("set_xx_on_absent", ("SET a 1 XX", None), ("EXISTS a", 0)),
    ("set_xx_on_present", ("SET a 1", OK), ("SET a 2 xx", OK), ("GET a", b"2")),
    ("set_get_on_absent", ("SET a 1 GET", None), ("GET a", b"1")),
    ("set_get_on_present", ("SET a 1", OK), ("SET a 2 GET", b"1"), ("GET a", b"2")),
    ("set_get_nx_on_absent", ("SET a 1 NX GET", None), ("GET a", b"1")),
    ("set_get_nx_on_present", ("SET a 1", OK), ("SET a 2 GET NX", b"1"), ("GET a", b"1")),
    ("set_get_xx_on_absent", ("SET a 1 XX GET", None), ("EXISTS a", 0)),
    ("set_get_xx_on_present", ("SET a 1", OK), ("SET a 2 XX GET", b"1"), ("GET a", b"2")),
    ("set_get_large_value", (("SET", "a", LARGE), OK), ("SET a 2 GET", LARGE)),
    ("set_nx_that_fails_keeps_the_expiry", ("SET a 1 EX 100", OK), ("SET a 2 NX EX 900", None), ("TTL a", Near(100, 2))),
    ("set_ex", ("SET a 1 EX 100", OK), ("TTL a", Near(100, 2)), ("SET a 1 ex 200", OK), ("TTL a", Near(200, 2))),
    ("set_px", ("SET a 1 PX 100000", OK), ("PTTL a", Near(100_000, 2000))),
    ("set_exat", (f"SET a 1 EXAT {LATER}", OK), ("EXPIRETIME a", LATER)),
    ("set_pxat", (f"SET a 1 PXAT {LATER}123", OK), ("PEXPIRETIME a", Near(LATER * 1000 + 123, 100))),
    ("set_in_the_past_is_gone", ("SET a 1", OK), ("SET a 2 EXAT 1", OK), ("GET a", None), ("SET a 2 PXAT 1", OK), ("EXISTS a", 0)),
    ("set_keepttl", ("SET a 1 EX 100", OK), ("SET a 2 KEEPTTL", OK), ("GET a", b"2"), ("TTL a", Near(100, 2))),
    ("set_keepttl_without_one", ("SET a 2 keepttl", OK), ("TTL a", -1), ("SET a 3 KEEPTTL", OK), ("TTL a", -1)),
    ("set_repeated_options", ("SET a 1 NX NX", OK), ("SET a 1 XX XX GET GET", b"1"), ("SET a 1 EX 10 EX 100", OK),
     ("TTL a", Near(100, 2)), ("SET a 1 KEEPTTL KEEPTTL", OK)),
    ("set_nx_with_xx", ("SET a 1 NX XX", SYNTAX), ("SET a 1 XX NX", SYNTAX), ("EXISTS a", 0)),
    ("set_two_expiries", *[(f"SET a 1 {one} {two}", SYNTAX) for one, two in [
        ("EX 10", "PX 10"), ("PX 10", "EX 10"), ("EX 10", "KEEPTTL"), ("KEEPTTL", "EX 10"), ("EXAT 10", "PXAT 10"),
        ("PX 10", "EXAT 10"), ("KEEPTTL", "PXAT 10"), ("PXAT 10", "KEEPTTL")]], ("EXISTS a", 0)),
    ("set_unknown_option", ("SET a 1 FOO", SYNTAX), ("SET a 1 PERSIST", SYNTAX), ("SET a 1 NXX", SYNTAX), (("SET", "a", "1", ""), SYNTAX)),
    ("set_expiry_without_number", ("SET a 1 EX", SYNTAX), ("SET a 1 PXAT", SYNTAX), ("SET a 1 NX PX", SYNTAX)),
    ("set_expiry_is_no_number", ("SET a 1 EX x", NOT_INT), ("SET a 1 PX 1.5", NOT_INT), ("SET a 1 EXAT 0x1", NOT_INT),
     (("SET", "a", "1", "EX", " 1"), NOT_INT), (("SET", "a", "1", "EX", ""), NOT_INT), ("SET a 1 PXAT +1", NOT_INT),
     ("SET a 1 EX 01", NOT_INT), (f"SET a 1 PX {MAX + 1}", NOT_INT), ("SET a 1 EX NX", NOT_INT), ("EXISTS a", 0)),
    ("set_expiry_out_of_range", ("SET a 1 EX 0", bad_expire("set")), ("SET a 1 PX -1", bad_expire("set")),
     ("SET a 1 EXAT 0", bad_expire("set")), ("SET a 1 PXAT -5", bad_expire("set")),
     (f"SET a 1 EX {MAX}", bad_expire("set")), (f"SET a 1 EX {MAX // 1000}", bad_expire("set")),
     (f"SET a 1 PX {MAX}", bad_expire("set")), (f"SET a 1 EXAT {MAX // 1000 + 1}", bad_expire("set")), ("EXISTS a", 0)),
    ("set_syntax_is_checked_before_numbers", ("SET a 1 EX x FOO", SYNTAX), ("SET a 1 EX 0 NX XX", SYNTAX)),
    ("set_farthest_expiry", (f"SET a 1 EXAT {MAX // 1000}", OK), ("EXPIRETIME a", Near(MAX // 1000, 1))),
    ("setex", ("SETEX a 100 x", OK), ("GET a", b"x"), ("TTL a", Near(100, 2)), ("SETEX a 1", arity("setex")),
     ("SETEX a 1 x y", arity("setex"))),
    ("setex_bad_expiry", ("SETEX a x 1", NOT_INT), ("SETEX a 0 1", bad_expire("setex")), ("SETEX a -1 1", bad_expire("setex")),
     (f"SETEX a {MAX} 1", bad_expire("setex")), ("EXISTS a", 0)),
    ("psetex", ("PSETEX a 100000 x", OK), ("GET a", b"x"), ("PTTL a", Near(100_000, 2000)), ("PSETEX a 1", arity("psetex"))),
    ("psetex_bad_expiry", ("PSETEX a 1.0 1", NOT_INT), ("PSETEX a 0 1", bad_expire("psetex")),
     (f"PSETEX a {MAX} 1", bad_expire("psetex")), ("EXISTS a", 0)),
    ("setnx", ("SETNX a 1", 1), ("SETNX a 2", 0), ("GET a", b"1"), ("SETNX a", arity("setnx")), ("SETNX a 1 2", arity("setnx"))),
    ("getset", ("GETSET a 1", None), ("GETSET a 2", b"1"), ("GET a", b"2"), ("GETSET a", arity("getset"))),
    ("getset_takes_the_expiry_away", ("SET a 1 EX 100", OK), ("GETSET a 2", b"1"), ("TTL a", -1)),
    ("getdel", ("GETDEL a", None), ("SET a 1", OK), ("GETDEL a", b"1"), ("EXISTS a", 0), ("GETDEL", arity("getdel")),
     ("GETDEL a b", arity("getdel"))),
    ("getex_without_options_is_a_get", ("GETEX a", None), ("SET a 1 EX 100", OK), ("GETEX a", b"1"), ("TTL a", Near(100, 2)),
     ("GETEX", arity("getex"))),
    ("getex_sets_the_expiry", ("SET a 1", OK), ("GETEX a EX 100", b"1"), ("TTL a", Near(100, 2)), ("GETEX a PX 200000", b"1"),
     ("TTL a", Near(200, 2)), (f"GETEX a EXAT {LATER}", b"1"), ("EXPIRETIME a", LATER), (f"GETEX a PXAT {LATER}000", b"1"),
     ("PEXPIRETIME a", Near(LATER * 1000, 100)), ("GET a", b"1")),
    ("getex_persist", ("SET a 1 EX 100", OK), ("GETEX a PERSIST", b"1"), ("TTL a", -1), ("GETEX a PERSIST", b"1"),
     ("GETEX b PERSIST", None), ("GETEX a PERSIST PERSIST", b"1")),
    ("getex_in_the_past_deletes", ("SET a 1", OK), ("GETEX a PXAT 1", b"1"), ("EXISTS a", 0), ("SET a 1", OK),
     ("GETEX a EXAT 1", b"1"), ("GET a", None)),
    ("getex_on_absent", ("GETEX a EX 100", None), ("EXISTS a", 0)),
    ("getex_checks_the_number_of_a_present_key_only", ("GETEX a EX x", None), ("GETEX a EX 0", None), ("SET a 1", OK),
     ("GETEX a EX x", NOT_INT), ("GETEX a EX 0", bad_expire("getex")), (f"GETEX a PX {MAX}", bad_expire("getex")), ("TTL a", -1)),
    ("getex_syntax", ("GETEX a FOO", SYNTAX), ("GETEX a EX", SYNTAX), ("GETEX a PERSIST EX 10", SYNTAX),
     ("GETEX a EX 10 PERSIST", SYNTAX), ("GETEX a KEEPTTL", SYNTAX), ("GETEX a EX 10 PX 10", SYNTAX), ("GETEX a NX", SYNTAX)),
    ("mget", ("SET a 1", OK), (("SET", "b", BINARY), OK), ("MGET a x b a", [b"1", None, BINARY, b"1"]), ("MGET x", [None]),
     ("MGET", arity("mget"))),
    ("mset", ("MSET a 1", OK), ("MSET a 2 b 3 c 4", OK), ("MGET a b c", [b"2", b"3", b"4"])),
    ("mset_last_of_a_key_wins", ("MSET a 1 b 2 a 3", OK), ("MGET a b", [b"3", b"2"])),
    ("mset_takes_the_expiry_away", ("SET a 1 EX 100", OK), ("MSET a 2 b 2", OK), ("TTL a", -1)),
    ("mset_wrong_arity", ("MSET", arity("mset")), ("MSET a", arity("mset")), ("MSET a 1 b", arity("mset")), ("EXISTS a", 0)),
    ("strlen", ("STRLEN a", 0), ("SET a hello", OK), ("STRLEN a", 5), ("STRLEN", arity("strlen")), ("STRLEN a b", arity("strlen"))),
    ("msetnx", ("MSETNX a 1 b 2", 1), ("MSETNX c 1 b 3", 0), ("MGET a b c", [b"1", b"2", None]), ("MSETNX c 9", 1), ("MSETNX c 8", 0),
     ("GET c", b"9"), ("MSETNX", arity("msetnx")), ("MSETNX a", arity("msetnx")), ("MSETNX a 1 b", arity("msetnx"))),
    ("msetnx_last_of_a_key_wins", ("MSETNX a 1 b 2 a 3", 1), ("MGET a b", [b"3", b"2"]), ("MSETNX c 1 c 2 a 1", 0), ("EXISTS c", 0)),
    ("incr_decr", ("INCR a", 1), ("INCR a", 2), ("DECR a", 1), ("DECR a", 0), ("DECR a", -1), ("GET a", b"-1"), ("DECR b", -1),
     ("INCR", arity("incr")), ("INCR a b", arity("incr")), ("DECR", arity("decr")), ("DECR a b", arity("decr"))),
    ("incrby_decrby", ("INCRBY a 5", 5), ("INCRBY a -7", -2), ("DECRBY a -2", 0), ("DECRBY a 10", -10), (f"INCRBY b {MAX}", MAX),
     (f"DECRBY c {MAX}", -MAX), (f"INCRBY d {-MAX - 1}", -MAX - 1), ("INCRBY a", arity("incrby")), ("DECRBY a 1 2", arity("decrby"))),
    ("incr_no_number", *[step for value in ["x", "1.5", " 1", "1 ", "+1", "01", "", f"{MAX + 1}", "0x1", "1e3", "-0"]
        for step in [(("SET", "a", value), OK), ("INCR a", NOT_INT), ("DECRBY a 1", NOT_INT), (("GET", "a"), value.encode())]]),
    ("incrby_no_number", ("INCRBY a x", NOT_INT), ("INCRBY a 1.0", NOT_INT), ("DECRBY a +1", NOT_INT), (("INCRBY", "a", ""), NOT_INT),
     (f"INCRBY a {MAX + 1}", NOT_INT), ("SET a x", OK), ("INCRBY a y", NOT_INT), ("EXISTS a b", 1)),
    ("incr_overflow", (f"SET a {MAX}", OK), ("INCR a", OVERFLOW), ("GET a", str(MAX).encode()), (f"SET b {-MAX - 1}", OK), ("DECR b", OVERFLOW),
     ("INCRBY b -1", OVERFLOW), ("DECRBY b 1", OVERFLOW), (f"INCRBY a {-MAX - 1}", -1), (f"INCRBY b {MAX}", -1),
     (f"DECRBY a {-MAX - 1}", Err("ERR decrement would overflow")), ("GET a", b"-1")),
    ("changes_keep_the_expiry", ("SET a 1 EX 100", OK), ("INCR a", 2), ("TTL a", Near(100, 2)), ("INCRBYFLOAT a .5", b"2.5"), ("TTL a", Near(100, 2)),
     ("APPEND a x", 4), ("TTL a", Near(100, 2)), ("SETRANGE a 1 yy", 4), ("TTL a", Near(100, 2)), ("GET a", b"2yyx"), ("APPEND b x", 1),
     ("TTL b", -1)),
    ("incrbyfloat", ("INCRBYFLOAT a 10.5", b"10.5"), ("INCRBYFLOAT a 0.1", b"10.6"), ("INCRBYFLOAT a -5", b"5.6"), ("INCRBYFLOAT a 5e3", b"5005.60000000000000009"),
     ("GET a", b"5005.60000000000000009"), ("INCRBYFLOAT b 3.0", b"3"), ("INCR b", 4), ("INCRBYFLOAT b -4", b"0"), ("INCRBYFLOAT c -0.0", b"0"),
     ("INCRBYFLOAT d 0x10", b"16"), ("INCRBYFLOAT e +5.", b"5"), ("INCRBYFLOAT f 1e-30", b"0"), ("INCRBYFLOAT g 1e20", b"100000000000000000000"),
     ("INCRBYFLOAT a", arity("incrbyfloat")), ("INCRBYFLOAT a 1 2", arity("incrbyfloat"))),
    ("incrbyfloat_no_number", *[(("INCRBYFLOAT", "a", by), NOT_FLOAT) for by in ["x", "", " 1", "1 ", "1.5x", "nan", "--1", "1e4933", "1,5"]],
     ("EXISTS a", 0), ("SET a x", OK), ("INCRBYFLOAT a 1", NOT_FLOAT), ("SET a nan", OK), ("INCRBYFLOAT a 1", NOT_FLOAT), (("SET", "a", "1\0"), OK),
     ("INCRBYFLOAT a 1", NOT_FLOAT)),
    ("incrbyfloat_no_infinity", *[(f"INCRBYFLOAT a {by}", NAN_OR_INF) for by in ["inf", "-inf", "+Infinity"]], ("EXISTS a", 0),
     ("SET a 1e4932", OK), ("INCRBYFLOAT a 1e4932", NAN_OR_INF), ("GET a", b"1e4932"), ("SET a inf", OK), ("INCRBYFLOAT a -inf", NAN_OR_INF)),
    ("append", ("APPEND a abc", 3), ("APPEND a def", 6), ("GET a", b"abcdef"), (("APPEND", "a", ""), 6), (("APPEND", "b", ""), 0), ("EXISTS b", 1),
     (("APPEND", "a", BINARY), 6 + len(BINARY)), ("GET a", b"abcdef" + BINARY), (("APPEND", "c", LARGE), len(LARGE)),
     (("APPEND", "c", LARGE), 2 * len(LARGE)), ("GET c", LARGE * 2), ("APPEND a", arity("append"))),
    ("append_that_looks_like_a_frame", (("APPEND", "a", b"\xf5hc"), 3), (("APPEND", "a", b"\x01"), 4), ("GET a", b"\xf5hc\x01"),
     (("APPEND", "a", bytes(60)), 64), ("GET a", b"\xf5hc\x01" + bytes(60)), ("STRLEN a", 64)),
    ("setrange", ("SET a hello", OK), ("SETRANGE a 1 EL", 5), ("GET a", b"hELlo"), ("SETRANGE a 4 xyz", 7), ("GET a", b"hELlxyz"),
     ("SETRANGE a 9 z", 10), ("GET a", b"hELlxyz\0\0z"), ("SETRANGE b 3 x", 4), ("GET b", b"\0\0\0x"), ("SETRANGE a 0", arity("setrange"))),
    ("setrange_of_nothing", (("SETRANGE", "a", "5", ""), 0), ("EXISTS a", 0), ("SET a 12", OK), (("SETRANGE", "a", "5", ""), 2), ("GET a", b"12"),
     (("SETRANGE", "a", "-1", ""), BAD_OFFSET), (("SETRANGE", "a", f"{MAX}", ""), 2)),
    ("setrange_bad_offset", ("SETRANGE a x y", NOT_INT), ("SETRANGE a 1.5 y", NOT_INT), ("SETRANGE a -1 y", BAD_OFFSET),
     ("SETRANGE a 536870912 x", TOO_LONG), ("SETRANGE a 536870911 xx", TOO_LONG), (f"SETRANGE a {MAX} x", TOO_LONG), ("EXISTS a", 0)),
    *[(command.lower(), (f"{command} a 0 -1", b""), ("SET a Hello", OK), (f"{command} a 0 -1", b"Hello"), (f"{command} a 1 3", b"ell"),
       (f"{command} a -3 -1", b"llo"), (f"{command} a -100 1", b"He"), (f"{command} a 3 100", b"lo"), (f"{command} a 3 1", b""),
       (f"{command} a -1 -3", b""), (f"{command} a 5 5", b""), (f"{command} a -100 -50", b"H"), (f"{command} a -50 -100", b""),
       (f"{command} a 0 {MAX}", b"Hello"), (f"{command} a {-MAX - 1} {MAX}", b"Hello"), (f"{command} a x 1", NOT_INT), (f"{command} a 0 x", NOT_INT),
       (f"{command} b x 1", NOT_INT), (f"{command} a 0", arity(command.lower())), (f"{command} a 0 1 2", arity(command.lower())),
       (("SET", "a", ""), OK), (f"{command} a 0 -1", b"")) for command in ("GETRANGE", "SUBSTR")],
)

KEYS = cases(
    ("del", ("DEL a", 0), ("MSET a 1 b 2 c 3", OK), ("DEL a b x", 2), ("EXISTS a b c", 1), ("DEL c c", 1), ("DEL", arity("del"))),
    ("unlink", ("MSET a 1 b 2", OK), ("UNLINK a x a b", 2), ("EXISTS a b", 0), ("UNLINK", arity("unlink"))),
    ("exists_counts_repeated_keys", ("EXISTS a", 0), ("SET a 1", OK), ("EXISTS a a b a", 3), ("EXISTS", arity("exists"))),
    ("touch", ("TOUCH a", 0), ("MSET a 1 b 2", OK), ("TOUCH a b x a", 3), ("TOUCH", arity("touch"))),
    ("type", ("TYPE a", Simple("none")), ("SET a 1", OK), ("TYPE a", Simple("string")), ("TYPE", arity("type")), ("TYPE a b", arity("type"))),
    ("expire", ("EXPIRE a 100", 0), ("SET a 1", OK), ("EXPIRE a 100", 1), ("TTL a", Near(100, 2)), ("PTTL a", Near(100_000, 2000)),
     ("EXPIRETIME a", Near(NOW + 100, 600)), ("PEXPIRETIME a", Near((NOW + 100) * 1000, 600_000)), ("GET a", b"1")),
    ("pexpire", ("PEXPIRE a 100000", 0), ("SET a 1", OK), ("PEXPIRE a 100000", 1), ("TTL a", Near(100, 2))),
    ("expireat", ("SET a 1", OK), (f"EXPIREAT a {LATER}", 1), ("EXPIRETIME a", LATER)),
    ("pexpireat", ("SET a 1", OK), (f"PEXPIREAT a {LATER}000", 1), ("PEXPIRETIME a", Near(LATER * 1000, 100))),
    ("expire_in_the_past_deletes", *[step for command in ["EXPIRE a 0", "EXPIRE a -1", "PEXPIRE a -100", "EXPIREAT a 1",
        "PEXPIREAT a 0", f"EXPIREAT a {-(MAX // 1000)}", f"PEXPIRE a {-MAX - 1}"]
        for step in [("SET a 1", OK), (command, 1), ("EXISTS a", 0), ("TTL a", -2)]]),
    ("expire_nx", ("SET a 1", OK), ("EXPIRE a 100 NX", 1), ("EXPIRE a 200 NX", 0), ("TTL a", Near(100, 2)), ("EXPIRE b 100 NX", 0)),
    ("expire_xx", ("SET a 1", OK), ("EXPIRE a 100 XX", 0), ("TTL a", -1), ("EXPIRE a 100", 1), ("EXPIRE a 200 xx", 1), ("TTL a", Near(200, 2))),
    ("expire_gt", ("SET a 1", OK), ("EXPIRE a 100 GT", 0), ("TTL a", -1), ("EXPIRE a 100", 1), ("EXPIRE a 50 GT", 0),
     ("EXPIRE a 200 GT", 1), ("TTL a", Near(200, 2)), ("PEXPIREAT a 1 GT", 0), ("EXISTS a", 1)),
    ("expire_lt", ("SET a 1", OK), ("EXPIRE a 100 LT", 1), ("EXPIRE a 200 LT", 0), ("EXPIRE a 50 lt", 1), ("TTL a", Near(50, 2)),
     ("EXPIRE a -1 LT", 1), ("EXISTS a", 0)),
    ("expire_lt_in_the_past_deletes_what_has_none", ("SET a 1", OK), ("EXPIRE a -1 LT", 1), ("EXISTS a", 0)),
    ("expire_xx_with_gt_or_lt", ("SET a 1", OK), ("EXPIRE a 100 XX LT", 0), ("EXPIRE a 100 XX GT", 0), ("EXPIRE a 100", 1),
     ("EXPIRE a 200 XX GT", 1), ("EXPIRE a 50 LT XX", 1), ("TTL a", Near(50, 2))),
    ("expire_same_time_is_neither_gt_nor_lt", ("SET a 1", OK), (f"EXPIREAT a {LATER}", 1), (f"EXPIREAT a {LATER} GT", 0),
     (f"EXPIREAT a {LATER} LT", 0)),
    *[(f"{command}_errors", ("SET a 1", OK), (f"{command} a", arity(command)), (f"{command} a 1 FOO", unsupported("FOO")),
       (f"{command} a 1 NX foo", unsupported("foo")), ((command, "a", "1", ""), unsupported("")),
       (f"{command} a 1 NX XX", NX_WITH_OTHERS), (f"{command} a 1 GT NX", NX_WITH_OTHERS), (f"{command} a 1 NX LT", NX_WITH_OTHERS),
       (f"{command} a 1 GT LT", GT_WITH_LT), (f"{command} a 1 NX GT LT", NX_WITH_OTHERS), (f"{command} a x", NOT_INT),
       (f"{command} a 1.5", NOT_INT), (f"{command} a {MAX + 1}", NOT_INT), (f"{command} a x NX XX", NX_WITH_OTHERS),
       (f"{command} a x FOO", unsupported("FOO")), (f"{command} absent x", NOT_INT), ("TTL a", -1))
      for command in ("expire", "pexpire", "expireat", "pexpireat")],
    ("expire_out_of_range", (f"EXPIRE a {MAX}", bad_expire("expire")), (f"EXPIRE a {-MAX}", bad_expire("expire")),
     (f"EXPIRE a {MAX // 1000}", bad_expire("expire")), (f"PEXPIRE a {MAX}", bad_expire("pexpire")),
     (f"EXPIREAT a {MAX // 1000 + 1}", bad_expire("expireat")), (f"EXPIREAT a {MAX // 1000}", 0), (f"PEXPIREAT a {MAX - 1}", 0)),
    ("unsupported_option_with_line_end", (("EXPIRE", "a", "1", "x\r\ny"), unsupported("x  y"))),
    ("ttl_absent_and_without", *[step for command in ("TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME") for step in [
        ("DEL a", 0), (f"{command} a", -2), ("SET a 1", OK), (f"{command} a", -1), ("DEL a", 1),
        (f"{command}", arity(command.lower())), (f"{command} a b", arity(command.lower()))]]),
    ("ttl_is_rounded", ("SET a 1 PX 100499", OK), ("TTL a", 100), ("SET a 1 PX 100999", OK), ("TTL a", 101)),
    ("expiretime_is_rounded", (f"SET a 1 PXAT {LATER}499", OK), ("EXPIRETIME a", LATER), (f"SET a 1 PXAT {LATER}700", OK),
     ("EXPIRETIME a", LATER + 1)),
    ("persist", ("PERSIST a", 0), ("SET a 1", OK), ("PERSIST a", 0), ("EXPIRE a 100", 1), ("PERSIST a", 1), ("TTL a", -1),
     ("PERSIST", arity("persist")), ("PERSIST a b", arity("persist"))),
    ("rename", ("SET a 1 EX 100", OK), ("SET b 2", OK), ("RENAME a b", OK), ("MGET a b", [None, b"1"]), ("TTL b", Near(100, 2)),
     ("RENAME b c", OK), ("GET c", b"1"), ("EXISTS a b", 0), ("SET d 4", OK), ("RENAME d c", OK), ("TTL c", -1), ("RENAME a", arity("rename")),
     ("RENAME a b c", arity("rename"))),
    ("rename_absent", ("SET b 1", OK), ("RENAME a b", NO_KEY), ("GET b", b"1"), ("RENAME a a", NO_KEY)),
    ("rename_to_itself", ("SET a 1 EX 100", OK), ("RENAME a a", OK), ("GET a", b"1"), ("TTL a", Near(100, 2))),
    ("renamenx", ("SET a 1", OK), ("SET b 2", OK), ("RENAMENX a b", 0), ("MGET a b", [b"1", b"2"]), ("RENAMENX a c", 1), ("MGET a c", [None, b"1"]),
     ("RENAMENX a c", NO_KEY), ("RENAMENX c c", 0), ("RENAMENX a a", NO_KEY), ("RENAMENX a", arity("renamenx"))),
    ("rename_back_and_forth", ("SET a 1", OK), ("RENAME a b", OK), ("RENAME b a", OK), ("GET a", b"1"), ("EXISTS b", 0), ("INCR a", 2)),
    ("copy", ("SET a 1 EX 100", OK), ("COPY a b", 1), ("MGET a b", [b"1", b"1"]), ("TTL b", Near(100, 2)), ("TTL a", Near(100, 2)), ("SET a 2", OK),
     ("COPY a b", 0), ("GET b", b"1"), ("COPY a b REPLACE", 1), ("GET b", b"2"), ("TTL b", -1), ("COPY x b REPLACE", 0), ("GET b", b"2"),
     ("COPY a", arity("copy"))),
    ("copy_options", ("SET a 1", OK), ("COPY a b DB 0", 1), ("COPY a b db 0 replace", 1), ("COPY a b REPLACE REPLACE DB 0 DB 0", 1),
     ("COPY a b DB", SYNTAX), ("COPY a b FOO", SYNTAX), ("COPY a b REPLACE DB", SYNTAX), ("COPY a b DB x", NOT_INT),
     ("COPY a b DB 99999999999", Err("ERR value is out of range, value must between -2147483648 and 2147483647")), ("COPY a b DB -1", Err("ERR DB index is out of range")),
     ("COPY a b DB 16", Err("ERR DB index is out of range")), ("COPY a a FOO", SYNTAX), ("COPY a a", SAME_KEY), ("COPY x x", SAME_KEY),
     ("COPY a a REPLACE", SAME_KEY)),
    ("keys", ("KEYS *", []), ("SET a1 1", OK), ("KEYS *", [b"a1"]), ("KEYS a?", [b"a1"]), ("KEYS b*", []), ("KEYS a[0-9]", [b"a1"]),
     ("KEYS a[^1]", []), (("KEYS", ""), []), ("KEYS", arity("keys")), ("KEYS a b", arity("keys"))),
    ("randomkey", ("RANDOMKEY", None), ("SET a 1", OK), ("RANDOMKEY", b"a"), ("DEL a", 1), ("RANDOMKEY", None), ("RANDOMKEY a", arity("randomkey"))),
    ("scan_empty", ("SCAN 0", [b"0", []])),
    ("scan_one", ("SET a 1", OK), ("SCAN 0 COUNT 1000", [b"0", [b"a"]]), ("SCAN 0 COUNT 1000 MATCH a*", [b"0", [b"a"]]),
     ("SCAN 0 COUNT 1000 MATCH b*", [b"0", []]), ("SCAN 0 COUNT 1000 TYPE string", [b"0", [b"a"]]),
     ("SCAN 0 TYPE STRING COUNT 1000", [b"0", [b"a"]]), ("SCAN 0 COUNT 1000 TYPE list", [b"0", []]),
     ("SCAN 0 COUNT 1000 TYPE nonsense", [b"0", []]), (("SCAN", "0", "COUNT", "1000", "MATCH", ""), [b"0", []]),
     ("SCAN 0 COUNT 1 COUNT 1000 MATCH b MATCH a", [b"0", [b"a"]])),
    ("scan_match_glob", ("MSET h[]llo 1", OK), ("SCAN 0 COUNT 1000 MATCH h\\[\\]llo", [b"0", [b"h[]llo"]]),
     ("SCAN 0 COUNT 1000 MATCH h[[a]?llo", [b"0", [b"h[]llo"]]), ("SCAN 0 COUNT 1000 MATCH h[^[]?llo", [b"0", []])),
    ("scan_cursor", ("SCAN", arity("scan")), ("SCAN x", Err("ERR invalid cursor")), ("SCAN 1x", Err("ERR invalid cursor")),
     (("SCAN", " 0"), Err("ERR invalid cursor")), ("SCAN 18446744073709551616", Err("ERR invalid cursor")),
     ("SCAN 1.0", Err("ERR invalid cursor")), ("SCAN -", Err("ERR invalid cursor")), ("SCAN x FOO", Err("ERR invalid cursor")),
     ("SCAN +0 COUNT 1000", [b"0", []]), ("SCAN 000 COUNT 1000", [b"0", []]), (("SCAN", "", "COUNT", "1000"), [b"0", []])),
    ("scan_options", ("SCAN 0 FOO", SYNTAX), ("SCAN 0 COUNT", SYNTAX), ("SCAN 0 COUNT 0", SYNTAX), ("SCAN 0 COUNT -1", SYNTAX),
     ("SCAN 0 COUNT x", NOT_INT), ("SCAN 0 MATCH", SYNTAX), ("SCAN 0 TYPE", SYNTAX), ("SCAN 0 MATCH * COUNT", SYNTAX),
     ("SCAN 0 COUNT x FOO bar", NOT_INT)),
    ("dbsize", ("DBSIZE", 0), ("MSET a 1 b 2 c 3", OK), ("DBSIZE", 3), ("DEL a", 1), ("DBSIZE", 2), ("DBSIZE a", arity("dbsize"))),
    *[(f"{command}_forgets_all", ("MSET a 1 b 2", OK), (f"{command}{how}", OK), ("DBSIZE", 0), ("MGET a b", [None, None]),
       ("SET a 3", OK), ("GET a", b"3"))
      for command in ("flushdb", "flushall") for how in ("", " ASYNC", " sync")],
    ("flush_syntax", ("FLUSHALL FOO", SYNTAX), ("FLUSHDB ASYNC SYNC", SYNTAX), ("FLUSHDB foo", SYNTAX)),
    ("pipelined_order", ("SET a 1", OK), ("GET b", None), ("SET b 2", OK), ("GET b", b"2"), ("DEL a b", 2), ("GET a", None)),
)

# The key `list` holds a list, behind harcad's back.
OTHER_TYPES = cases(
    ("get", ("GET list", WRONGTYPE)),
    ("strlen", ("STRLEN list", WRONGTYPE)),
    ("getset", ("GETSET list 1", WRONGTYPE), ("TYPE list", Simple("list"))),
    ("getdel", ("GETDEL list", WRONGTYPE), ("EXISTS list", 1)),
    ("getex", ("GETEX list", WRONGTYPE), ("GETEX list EX 100", WRONGTYPE), ("GETEX list PERSIST", WRONGTYPE),
     ("GETEX list EX x", WRONGTYPE), ("GETEX list FOO", SYNTAX), ("TTL list", -1)),
    ("mget", ("SET a 1", OK), ("MGET a list x", [b"1", None, None])),
    ("set", ("SET list 1", OK), ("GET list", b"1"), ("TYPE list", Simple("string"))),
    ("set_conditions", ("SET list 1 NX", None), ("SETNX list 1", 0), ("SET list 1 GET", WRONGTYPE), ("SET list 1 NX GET", WRONGTYPE),
     ("SET list 1 GET EX x", NOT_INT), ("TYPE list", Simple("list")), ("SET list 1 XX", OK), ("GET list", b"1")),
    ("mset", ("MSET list 1 a 2", OK), ("MGET list a", [b"1", b"2"])),
    ("exists_touch_type", ("EXISTS list list", 2), ("TOUCH list", 1), ("TYPE list", Simple("list"))),
    ("del", ("DEL list", 1), ("EXISTS list", 0)),
    ("expire_ttl_persist", ("TTL list", -1), ("PTTL list", -1), ("EXPIRETIME list", -1), ("EXPIRE list 100 XX", 0),
     ("EXPIRE list 100", 1), ("TTL list", Near(100, 2)), ("PTTL list", Near(100_000, 2000)), (f"EXPIREAT list {LATER}", 1),
     ("EXPIRETIME list", Near(LATER, 1)), ("PEXPIRETIME list", Near(LATER * 1000, 100)), ("PERSIST list", 1), ("TTL list", -1),
     ("EXPIRE list 0", 1), ("EXISTS list", 0)),
    ("changes", ("INCR list", WRONGTYPE), ("DECRBY list 1", WRONGTYPE), ("INCRBY list x", NOT_INT), ("INCRBYFLOAT list x", WRONGTYPE),
     ("APPEND list x", WRONGTYPE), ("SETRANGE list 0 x", WRONGTYPE), (("SETRANGE", "list", "0", ""), WRONGTYPE),
     (f"SETRANGE list {MAX} x", WRONGTYPE), ("SETRANGE list -1 x", BAD_OFFSET), ("GETRANGE list 0 1", WRONGTYPE),
     ("GETRANGE list x 1", NOT_INT), ("TYPE list", Simple("list"))),
    ("msetnx", ("MSETNX a 1 list 2", 0), ("EXISTS a", 0)),
    ("rename", ("RENAME list other", OK), ("TYPE other", Simple("list")), ("EXISTS list", 0), ("RENAMENX other list", 1), ("RENAMENX list list", 0),
     ("RENAME list list", OK), ("SET a 1", OK), ("RENAMENX a list", 0), ("RENAME a list", OK), ("GET list", b"1")),
    ("copy", ("COPY list other", 1), ("TYPE other", Simple("list")), ("COPY list other", 0), ("SET a 1", OK), ("COPY a other", 0),
     ("COPY a other REPLACE", 1), ("GET other", b"1")),
    ("keys_randomkey", ("KEYS *", [b"list"]), ("RANDOMKEY", b"list")),
    ("scan_dbsize", ("DBSIZE", 1), ("SCAN 0 COUNT 1000", [b"0", [b"list"]]), ("SCAN 0 COUNT 1000 TYPE list", [b"0", [b"list"]]),
     ("SCAN 0 COUNT 1000 TYPE string", [b"0", []])),
    ("flush", ("FLUSHALL", OK), ("EXISTS list", 0), ("TYPE list", Simple("none"))),
)

# What Redis has not.
MODELS = cases(
    ("set_with_model", ("SET a 1 MODEL m", OK), ("GET a", b"1"), ("GET a MODEL m", b"1"), ("get a model m", b"1")),
    ("get_of_another_model_is_null", ("SET a 1 MODEL m", OK), ("GET a MODEL n", None), ("GET a MODEL default", None), ("GET a", b"1")),
    ("get_of_no_model_named", ("SET a 1", OK), ("GET a MODEL default", b"1"), ("GET a MODEL m", None), (("GET", "a", "MODEL", ""), None)),
    ("get_of_a_model_absent", ("GET a MODEL m", None)),
    ("set_changes_the_model", ("SET a 1 MODEL m", OK), ("SET a 2 MODEL n", OK), ("GET a MODEL m", None), ("GET a MODEL n", b"2"),
     ("SET a 3", OK), ("GET a MODEL default", b"3")),
    ("model_goes_with_other_options", ("SET a 1 NX EX 100 MODEL m", OK), ("TTL a", Near(100, 2)), ("SET a 2 GET MODEL n", b"1"),
     ("SET a 2 NX MODEL m", None), ("GET a MODEL n", b"2"), ("SET a 3 XX KEEPTTL MODEL m", OK), ("GET a MODEL m", b"3")),
    ("model_names_are_opaque", ("SET a 1 MODEL org/name:1@2", OK), ("GET a MODEL org/name:1@2", b"1"), ("GET a MODEL ORG/name:1@2", None)),
    ("expire_keeps_the_model", ("SET a 1 MODEL m", OK), ("EXPIRE a 100", 1), ("GET a MODEL m", b"1"), ("PERSIST a", 1),
     ("GET a MODEL m", b"1"), ("GETEX a EX 100", b"1"), ("GET a MODEL m", b"1"), ("GETDEL a", b"1"), ("GET a MODEL m", None)),
    ("changes_keep_the_model", ("SET a 1 EX 100 MODEL m", OK), ("INCR a", 2), ("GET a MODEL m", b"2"), ("TTL a", Near(100, 2)),
     ("INCRBYFLOAT a 0.5", b"2.5"), ("GET a MODEL m", b"2.5"), ("INCR a", NOT_INT), ("GET a MODEL m", b"2.5"), ("APPEND a x", 4),
     ("INCRBYFLOAT a 1", NOT_FLOAT), ("SETRANGE a 5 yz", 7), ("GET a MODEL m", b"2.5x\0yz"), ("TTL a", Near(100, 2)), ("STRLEN a", 7),
     (f"SETRANGE a {MAX} x", TOO_LONG), ("GETRANGE a 4 -1", b"\0yz"), (("SETRANGE", "a", "99", ""), 7)),
    ("copies_keep_the_model", ("SET a 1 EX 100 MODEL m", OK), ("COPY a b", 1), ("GET b MODEL m", b"1"), ("TTL b", Near(100, 2)), ("RENAME a c", OK),
     ("GET c MODEL m", b"1"), ("EXISTS a", 0), ("COPY c b", 0), ("SET d 2", OK), ("COPY d b REPLACE", 1), ("GET b MODEL default", b"2")),
    ("changes_of_what_was_cleared_begin_anew", ("MSET x 1", OK), ("SET a 5 EX 100 MODEL m", OK), ("CLEAR MODEL m", OK), ("INCR a", 1), ("TTL a", -1),
     ("GET a MODEL m", None), ("GET a MODEL default", b"1"), ("SET a 5 MODEL m", OK), ("CLEAR MODEL m", OK), ("APPEND a xyz", 3), ("GET a", b"xyz"),
     ("SET a 5 MODEL m", OK), ("INCR a", 6), ("CLEAR MODEL m", OK), ("GET a", None), ("KEYS *", [b"x"]), ("RANDOMKEY", b"x")),
    ("copies_of_what_was_cleared", ("SET a 5 MODEL m", OK), ("SET b 6", OK), ("COPY a c", 1), ("CLEAR MODEL m", OK), ("RENAME a b", NO_KEY),
     ("RENAME a a", NO_KEY), ("COPY a b REPLACE", 0), ("GET b", b"6"), ("EXISTS c", 0), ("RENAMENX b a", 1), ("COPY a c", 1),
     ("MGET a b c", [b"6", None, b"6"])),
    ("msetnx_over_what_was_cleared", ("SET a 5 MODEL m", OK), ("MSETNX a 1 b 1", 0), ("CLEAR MODEL m", OK), ("MSETNX a 1 b 1", 1), ("MGET a b", [b"1", b"1"])),
    ("changes_after_the_default_model_was_cleared", ("SET a 5", OK), ("CLEAR MODEL default", OK), ("INCR a", 1), ("GET a", b"1"), ("APPEND a 0", 2),
     ("INCRBY a 5", 15), ("SETRANGE a 0 2", 2), ("GET a", b"25"), ("COPY a b", 1), ("RENAME a c", OK), ("MGET b c", [b"25", b"25"])),
    ("syntax", ("SET a 1 MODEL", SYNTAX), ("GET a MODEL", arity("get")), ("GET a MODEL m x", arity("get")), ("SET a 1 MODEL m FOO", SYNTAX)),
    ("framed_value_is_whole", (("SET", "a", BINARY, "MODEL", "m"), OK), ("GET a", BINARY), ("STRLEN a", len(BINARY)), ("MGET a", [BINARY]),
     ("SET a 1 GET", BINARY)),
)


@pytest.fixture(scope="module", params=["redis", "embedded", "fleet"])
def any_target(request):
    with started(request.param) as target:
        yield target


@pytest.fixture(scope="module", params=["redis", "fleet"])
def target_with_data(request):
    with started(request.param) as target:
        yield target


@pytest.fixture(scope="module", params=["embedded", "fleet"])
def harcad_target(request):
    with started(request.param) as target:
        yield target


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def resp(request):
    return request.param


def arguments(command):
    return command.split() if isinstance(command, str) else command


def check(expected, wire, meaning, resp):
    if isinstance(expected, Near):
        return wire.startswith(b":") and abs(meaning - expected.number) <= expected.tolerance
    return wire == encode_reply(expected, resp)


def run(target, resp, steps, pipelined, prepare=None, clears=False):
    with target.connect(resp) as conn:
        if clears:  # its SETs are to bring nothing that was missed, and then cleared, in another case
            conn.ask_all([["SET", key, "x"] for key in "abcd" for _ in range(50)])
        assert conn.command("FLUSHALL") == "OK"
        if prepare:
            prepare()
        commands = [arguments(command) for command, _ in steps]
        replies = conn.ask_all(commands) if pipelined else [conn.ask(*command) for command in commands]
    for command, (_, expected), (wire, meaning) in zip(commands, steps, replies):
        assert check(expected, wire, meaning, resp), f"{command}: {wire[:200]!r}, expected {repr(expected)[:200]}"


@pytest.mark.parametrize("pipelined", [False, True], ids=["singly", "pipelined"])
@pytest.mark.parametrize("steps", STRINGS + KEYS)
def test_commands_case_replies_as_redis(any_target, resp, steps, pipelined):
    run(any_target, resp, steps, pipelined)


@pytest.mark.parametrize("steps", MODELS)
def test_commands_model_case_replies_as_documented(harcad_target, resp, steps):
    run(harcad_target, resp, steps, pipelined=False, clears=True)


@pytest.mark.parametrize("pipelined", [False, True], ids=["singly", "pipelined"])
@pytest.mark.parametrize("steps", OTHER_TYPES)
def test_commands_key_of_another_type_replies_as_redis(target_with_data, resp, steps, pipelined):
    run(target_with_data, resp, steps, pipelined, prepare=lambda: target_with_data.behind("RPUSH", "@list", "x"))


def test_commands_get_of_another_model_counts_as_a_miss_and_not_as_a_hit(harcad_target):
    counters = ("memory_hits", "upstream_hits", "misses", "model_mismatches")

    def counted(*command):
        before = harcad_target.server.info()
        conn.command(*command)
        after = harcad_target.server.info()
        return {name: after[name] - before[name] for name in counters if after[name] != before[name]}

    with harcad_target.connect() as conn:
        assert conn.command("FLUSHALL") == "OK"
        assert conn.command("SET", "a", "1", "MODEL", "m") == "OK"
        assert counted("GET", "a", "MODEL", "m") == {"memory_hits": 1}
        assert counted("GET", "a", "MODEL", "n") == {"misses": 1, "model_mismatches": 1}
        assert counted("GET", "b", "MODEL", "m") == {"misses": 1}
        assert counted("GET", "a") == {"memory_hits": 1}
        assert counted("MGET", "a", "b") == {"memory_hits": 1, "misses": 1}
        assert counted("EXISTS", "a", "b") == {}
        assert counted("TTL", "a") == {}
