"""A small RESP2 client: one connection, blocking, for one thread."""

import socket


class RespError(Exception):
    """An error reply."""


def encode(*args):
    """A command as a RESP array. Text is sent as UTF-8, numbers in decimal."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        data = arg if isinstance(arg, (bytes, bytearray)) else str(arg).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class Client:
    """Bulk strings come as bytes, simple strings as str, nulls as None, arrays as lists. The address is (host, port),
    or the path of a Unix socket."""

    BATCH = 128  # commands that pipeline() has under way at a time

    def __init__(self, address, timeout=10.0):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise
        if family == socket.AF_INET:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self._socket.makefile("rb", buffering=1 << 16)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self._replies.close()
        self._socket.close()

    def call(self, *args):
        """One command, its reply; an error reply is raised."""
        self.send(encode(*args))
        return self.receive()

    def send(self, request):
        """Bytes from encode(); the reply is left to receive()."""
        self._socket.sendall(request)

    def receive(self):
        reply = self._read()
        if isinstance(reply, RespError):
            raise reply
        return reply

    def pipeline(self, commands):
        """The replies to many commands, in order; the first error reply is raised once all of its batch are read."""
        replies = []
        for start in range(0, len(commands), self.BATCH):
            batch = commands[start:start + self.BATCH]
            self.send(b"".join(encode(*command) for command in batch))
            replies += [self._read() for _ in batch]
            for reply in replies[-len(batch):]:
                if isinstance(reply, RespError):
                    raise reply
        return replies

    def get_all(self, keys):
        return self.pipeline([("GET", key) for key in keys])

    def info(self, *sections):
        """INFO's fields, of all sections or of these; whole numbers as int, all else as str."""
        fields = {}
        for line in self.call("INFO", *sections).decode().splitlines():
            name, colon, value = line.partition(":")
            if colon:
                fields[name] = int(value) if value.isdigit() else value
        return fields

    def map(self, *args):
        """A reply of name, value, name, value as a dictionary with text for names; nil as an empty one."""
        items = self.call(*args) or []
        return {items[i].decode(): items[i + 1] for i in range(0, len(items), 2)}

    def _line(self):
        line = self._replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed by the server")
        return line[:-2]

    def _bulk(self, size):
        data = self._replies.read(size + 2)
        if len(data) < size + 2:
            raise ConnectionError("closed by the server")
        return data[:-2]

    def _read(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return RespError(rest.decode("utf-8", "replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._bulk(int(rest))
        if kind == b"*":
            return None if rest == b"-1" else [self._read() for _ in range(int(rest))]
        raise ValueError(f"not RESP2: {line[:40]!r}")
