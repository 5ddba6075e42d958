"""The HTTP/1.1 protocol that uvicorn's server runs for Blick: `protocol.protocol_class(limits)`.

From a connection inwards: `protocol` (one connection, request after request) → `exchange` (one request and its
response, as ASGI sees them) → `inbound` (the request's body) with `handoff` (its way past the event loop), and
`sendfile` for the other direction. `head` and `chunked` know the syntax, `line` the transport.
"""
