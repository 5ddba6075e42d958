"""What a client may cost."""

from dataclasses import dataclass

KIB = 1 << 10
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class ProtocolLimits:
    """Sizes, counts and times of one connection. A time of 0 for `keep_alive_s` closes after every response."""

    head_bytes: int = 64 * KIB  # request line and headers together; longer ones get 431
    header_line_bytes: int = 64 * KIB  # one of them
    header_count: int = 200
    head_s: float = 60.0  # from its first byte, or the connection, to its end
    keep_alive_s: float = 75.0
    body_idle_s: float = 900.0  # without a byte of a body that somebody waits for
    stall_s: float = 900.0  # without the client taking a byte of a response
    buffered_body_bytes: int = 256 * KIB  # received ahead of the application
    pipelined_bytes: int = 64 * KIB  # received ahead of the end of a response
    linger_s: float = 30.0  # reading and dropping a body after the answer to it
    linger_bytes: int = 8 * GIB
    # Threads only wait for fast clients; all others wait in the event loop.
    threads: int = 16
    receive_patience_s: float = 0.05
    send_patience_s: float = 0.05
