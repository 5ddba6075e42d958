"""The seam between Google's XML interface and Amazon's, in front of an S3 server: no emulator has uploads in parts.

It issues access tokens for the assertions of one service account, and passes on requests that carry one; as at Google,
headers of Amazon's are refused there, and metadata have Google's names. What an S3 server does behind it is not
Google's doing: this shows the driver's half of the seam.
"""

import http.client
import json
import secrets
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.support.server import HOST

ACCOUNT = "blick@tests.example"
_PIECE_BYTES = 1 << 20
_HOP_BY_HOP = {"connection", "transfer-encoding", "host", "keep-alive", "server", "date"}
_REFUSED = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>no</Message></Error>"


class GoogleStorage:
    """The server, while `running`. `backend` is the HOST:PORT of an S3 server that looks at no signatures."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.tokens_issued = 0
        self.accepts_assertions = True
        self._tokens: set[str] = set()
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._server = ThreadingHTTPServer((HOST, 0), _handler_of(self))
        self._server.daemon_threads = True

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator["GoogleStorage"]:
        """Answers until the context is left."""
        thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def write_credentials(self, path: Path) -> Path:
        """The file of the service account, as Google gives it out."""
        key = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        document = {
            "type": "service_account",
            "project_id": "blick-tests",
            "private_key_id": "1",
            "private_key": key.decode(),
            "client_email": ACCOUNT,
            "client_id": "1",
            "token_uri": f"{self.endpoint}/token",
        }
        path.write_text(json.dumps(document))
        return path

    def expire_tokens(self) -> None:
        """No token that was issued is good any more."""
        self._tokens.clear()

    def issue(self, assertion: str) -> str | None:
        """A token for a signed assertion; None if it is not the account's, which `cryptography` then raises about."""
        signed, _, signature = assertion.rpartition(".")
        self._key.public_key().verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        claims = json.loads(_decoded(signed.partition(".")[2]))
        if not self.accepts_assertions or claims["iss"] != ACCOUNT or "devstorage" not in claims["scope"]:
            return None
        token = secrets.token_hex(16)
        self._tokens.add(token)
        self.tokens_issued += 1
        return token

    def knows(self, authorization: str) -> bool:
        """Whether the header carries a token that is good now."""
        kind, _, token = authorization.partition(" ")
        return kind == "Bearer" and token in self._tokens


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _handler_of(storage: GoogleStorage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            if self.path == "/token":
                self._issue()
            else:
                self._pass_on()

        def do_GET(self) -> None:
            self._pass_on()

        do_HEAD = do_PUT = do_DELETE = do_GET

        def log_message(self, *arguments: Any) -> None:
            """Nothing is logged."""

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _issue(self) -> None:
            token = storage.issue(parse_qs(self._body().decode())["assertion"][0])
            if token is None:
                self._answer(400, b'{"error": "invalid_grant"}')
            else:
                self._answer(200, json.dumps({"access_token": token, "expires_in": 3600}).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if body[:1] == b"{" else "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _pass_on(self) -> None:
            body = self._body()
            if not storage.knows(self.headers.get("Authorization", "")):
                self._answer(401, _REFUSED % b"AuthenticationRequired")
            elif any(name.lower().startswith("x-amz-") for name in self.headers):
                self._answer(400, _REFUSED % b"InvalidHeader")
            else:
                self._forward(body)

        def _forward(self, body: bytes) -> None:
            headers = {
                name.lower().replace("x-goog-", "x-amz-"): value
                for name, value in self.headers.items()
                if name.lower() not in {*_HOP_BY_HOP, "authorization", "content-length"}
            }
            connection = http.client.HTTPConnection(storage.backend, timeout=120)
            try:
                connection.request(self.command, self.path, body or None, headers)
                self._relay(connection.getresponse())
            finally:
                connection.close()

        def _relay(self, answer: http.client.HTTPResponse) -> None:
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name.lower().replace("x-amz-", "x-goog-"), value)
            if answer.getheader("Content-Length") is None:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            while piece := answer.read(_PIECE_BYTES):
                self.wfile.write(piece)

    return Handler
