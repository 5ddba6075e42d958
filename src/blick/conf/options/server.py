"""The listening socket and its limits: the knobs of the server, and those that only Blick has (group blick)."""

from collections.abc import Mapping

from blick.conf.options.option import Option

_DEFAULT = (
    Option("bind_host", "host", "0.0.0.0", "Address to listen on"),  # noqa: S104 - the field's default
    Option("bind_port", "port", 9292, "Port to listen on"),
    Option("workers", "int", None, "Worker processes; unset = one per processor, at most 8; 0 = one", minimum=0),
    Option("backlog", "int", 4096, "Connections that may wait to be accepted", minimum=1),
    Option("max_header_line", "int", 16384, "Longest header line accepted, bytes", minimum=1),
    Option("http_keepalive", "bool", True, "Keep connections open between requests"),
    Option("client_socket_timeout", "int", 900, "Seconds a silent client is waited for; 0 = for ever", minimum=0),
    Option("tcp_keepidle", "int", 600, "Seconds until an idle connection is probed", minimum=1, keep="later"),
    Option("cert_file", "str", None, "Certificate of the server; with it the server speaks TLS"),
    Option("key_file", "str", None, "Private key of that certificate"),
    Option("ca_file", "str", None, "CA bundle that clients' certificates must come from"),
)

_BLICK = (
    Option("insecure", "bool", False, "Let the standalone identity listen beyond this machine without TLS"),
    Option("token_ttl", "int", 3600, "Life of a token of the standalone identity, seconds", minimum=60),
    Option("json_body_max_bytes", "int", 1 << 20, "Longest JSON body accepted, bytes", minimum=1024),
    Option("gzip", "bool", False, "Compress answers, but never image data, for clients that ask for it"),
)

OPTIONS: Mapping[str, tuple[Option, ...]] = {"DEFAULT": _DEFAULT, "blick": _BLICK}
