"""Mirrors on the loopback: real HTTP servers whose answers a test writes down."""

import hashlib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = Callable[[BaseHTTPRequestHandler], None]


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def send(content: bytes, status: int = 200, length: int | None = None) -> Answer:
    """Answer with `content`, announced as `length` bytes."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(content) if length is None else length))
        request.end_headers()
        request.wfile.write(content)

    return answer


def send_folder(folder: Path) -> Answer:
    """Answer with the files of a folder."""
    return lambda request: send((folder / request.path.lstrip("/")).read_bytes())(request)


class Mirror(ThreadingHTTPServer):
    """A mirror on the loopback that gives its answers in turn, and the last one ever after."""

    daemon_threads = True

    def __init__(self, *answers: Answer) -> None:
        self.requests: list[str] = []
        self.closed = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.requests.append(self.path)
                answers[min(len(mirror.requests), len(answers)) - 1](self)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
