"""A TCP relay that can go silent: bytes vanish, and nobody is told. For what a firewall or a dead switch does."""

import socket
import threading


class Relay:
    """As a context. Each connection to its port is passed on to the target's. With silence(word) nothing more comes back on
    connections whose client has sent that word at some time; speak() ends it for connections that are made from then on, and
    cuts those that were silent."""

    def __init__(self, target):
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._silenced = b""
        self._pairs = []  # (client, server, what the client has sent so far)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for client, server, _ in self._pairs:
            cut(client, server)

    def silence(self, word):
        self._silenced = word

    def speak(self):
        word, self._silenced = self._silenced, b""
        for client, server, sent in self._pairs:
            if word in sent:
                cut(client, server)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sent = bytearray()
            self._pairs.append((client, server, sent))
            for source, sink, seen in ((client, server, sent), (server, client, None)):
                threading.Thread(target=self._pass, args=(source, sink, sent, seen), daemon=True).start()

    def _pass(self, source, sink, sent, seen):
        try:
            while data := source.recv(1 << 16):
                if seen is not None:
                    seen += data[:1024] if len(seen) < 4096 else b""
                elif self._silenced and self._silenced in sent:
                    continue
                sink.sendall(data)
        except OSError:
            pass
        cut(source, sink)


def cut(*ends):
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        end.close()
