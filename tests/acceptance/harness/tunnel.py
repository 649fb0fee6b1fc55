"""A forward proxy for https that leads every host to one server: how a program gets there with HTTPS_PROXY alone.

The client speaks TLS through it and sees the certificate of the host that it asked for.
"""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Tunnel:
    def __init__(self, port: int) -> None:
        """`port`: of the server on loopback that everything is led to."""
        self.hosts: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(port, self.hosts))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="tunnel", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(port: int, hosts: set[str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_CONNECT(self) -> None:
            hosts.add(self.path.partition(":")[0])
            with socket.create_connection(("127.0.0.1", port)) as inside:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=_pump, args=(inside, self.connection), daemon=True)
                back.start()
                _pump(self.connection, inside)
                back.join()
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            """Silent: the tests ask which hosts were called."""

    return Handler


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Copies until the source ends, and passes the end on."""
    try:
        while chunk := source.recv(262_144):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
