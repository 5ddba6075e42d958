"""A stand-in for Sheepdog's command `dog`, as far as Blick uses it: see tests/support/sheep.py. Standard library."""

import json
import socket
import sys

SYSFAIL = 2


def main(words: list[str]) -> int:
    """Send the command, and its input, to the sheep that -a and -p name; print what comes back."""
    address, port = _option(words, "-a", "127.0.0.1"), int(_option(words, "-p", "7000"))
    data = sys.stdin.buffer.read(int(words[-1])) if words[:2] == ["vdi", "write"] else b""
    try:
        with socket.create_connection((address, port)) as connection, connection.makefile("rwb") as stream:
            head = {"words": [word for word in words if word != "-r"], "input_bytes": len(data)}
            stream.write(json.dumps(head).encode() + b"\n" + data)
            stream.flush()
            answer = json.loads(stream.readline())
            sys.stderr.write(answer["text"])
            left = answer["output_bytes"]
            while left and (piece := stream.read(min(left, 1 << 20))):
                sys.stdout.buffer.write(piece)
                left -= len(piece)
    except (OSError, ValueError):
        sys.stderr.write(f"failed to connect to {address}:{port}\n")
        return SYSFAIL
    return int(answer["status"])


def _option(words: list[str], name: str, default: str) -> str:
    if name not in words:
        return default
    place = words.index(name)
    _, value = words[place], words[place + 1]
    del words[place : place + 2]
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
