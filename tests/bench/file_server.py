"""A web server for one folder that lets the kernel send the files, where there is no nginx: `python -m …` runs it."""

import http.server
import os
import sys
from pathlib import Path

from tests.bench.servers import Server

READY = "/ready"


class FileServer(Server):
    """One process of it."""

    name = "file server"
    ready_status = 404
    ready_path = READY

    def __init__(self, folder: Path, files: Path) -> None:
        super().__init__(folder, workers=1)
        self._files = files

    def prepare(self) -> None:
        self.folder.mkdir(parents=True)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.bench.file_server", str(self.port), str(self._files)]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _answer(self) -> None:
        path = Path(sys.argv[2]) / Path(self.path).name
        if not path.is_file():
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.flush()
            sent = 0
            while self.command == "GET" and sent < size:
                sent += os.sendfile(self.connection.fileno(), file.fileno(), sent, size - sent)


def main() -> None:
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()


if __name__ == "__main__":
    main()
