"""Uploads in pieces, by tus: gone on with wherever they broke off, in one row or in two parts side by side."""

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx

from tests.process.chaos.story import Attempt, Story
from tests.support.tus import PIECE, TUS

SMALLEST_PIECE, LARGEST_PIECE = 64 * 1024, 2 << 20
STEPS = 150
"""So many requests an upload may take before its client gives it up."""
COME_BACK = frozenset({409, 423, 503})
"""What a client answers by asking how far it is, and going on."""

Ask = Callable[..., httpx.Response | None]


@dataclass
class PieceByPiece:
    """One image's upload. `ask(method, path, …)` makes a request about the image, `rest` waits a little."""

    story: Story
    attempt: Attempt
    ask: Ask
    rest: Callable[[], None]
    chance: random.Random
    stop: threading.Event

    def run(self) -> None:
        """Until the image has its data, or the client has had enough."""
        if self.chance.random() < 0.3:
            self._in_two_parts()
        else:
            self._in_one_row()

    def _in_one_row(self) -> None:
        data = self.story.data()
        upload = self._begin({"Upload-Length": str(len(data)), "X-Image-Meta-Store": self.attempt.stores[0]})
        if upload is not None and self._send(upload, data):
            self.attempt.accepted = True

    def _in_two_parts(self) -> None:
        data = self.story.data()
        cut = self.chance.randrange(1, len(data))
        uploads = []
        for part in (data[:cut], data[cut:]):
            upload = self._begin({"Upload-Length": str(len(part)), "Upload-Concat": "partial"})
            if upload is None or not self._send(upload, part):
                return
            uploads.append(f"/v2/images/{self.story.id}{upload}")
        headers = {"Upload-Concat": f"final;{' '.join(uploads)}", "X-Image-Meta-Store": self.attempt.stores[0]}
        if self._begin(headers) is not None:
            self.attempt.accepted = True

    def _begin(self, headers: dict[str, str]) -> str | None:
        """The path of a new upload, below the image's; None if the client does not get one."""
        for _ in range(STEPS):
            answer = self.ask("POST", "/upload", headers=TUS | headers)
            if answer is not None and answer.status_code == 201:
                return "/upload/" + answer.headers["location"].rpartition("/")[2]
            if answer is not None and answer.status_code not in COME_BACK:
                return None
            if self.stop.is_set() or self.chance.random() < 0.03:
                return None
            self.rest()
        return None

    def _send(self, upload: str, data: bytes) -> bool:
        """Whether all of it has arrived, and was taken."""
        offset: int | None = 0
        for _ in range(STEPS):
            dice = self.chance.random()
            if dice < 0.01:
                return False
            if dice < 0.02:
                self.ask("DELETE", upload, headers=TUS)
            if offset is None:
                answer = self.ask("HEAD", upload, headers=TUS)
                if answer is not None and answer.status_code == 200:
                    offset = int(answer.headers["upload-offset"])
                elif answer is not None and answer.status_code not in COME_BACK:
                    return False
                else:
                    self.rest()
            elif offset == len(data):
                return True
            else:
                piece = data[offset : offset + self.chance.randint(SMALLEST_PIECE, LARGEST_PIECE)]
                headers = PIECE | {"Upload-Offset": str(offset), "Content-Length": str(len(piece))}
                answer = self.ask("PATCH", upload, headers=headers, content=self._perhaps_broken(piece))
                is_taken = answer is not None and answer.status_code == 204
                offset = int(answer.headers["upload-offset"]) if answer is not None and is_taken else None
                if answer is not None and not is_taken and answer.status_code not in COME_BACK:
                    return False
        return False

    def _perhaps_broken(self, piece: bytes) -> Iterator[bytes]:
        """The piece; now and then the client goes away in the middle of it."""
        half = len(piece) // 2
        yield piece[:half]
        if self.chance.random() < 0.05:
            raise HangUp
        yield piece[half:]


class HangUp(httpx.TransportError):
    """The client has gone away."""

    def __init__(self) -> None:
        super().__init__("the client has changed its mind")
