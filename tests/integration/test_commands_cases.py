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


def run(target, resp, steps, pipelined, prepare=None):
    with target.connect(resp) as conn:
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
    run(harcad_target, resp, steps, pipelined=False)


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
