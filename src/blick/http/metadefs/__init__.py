"""Metadata definitions over HTTP: a module per noun (spec: metadefs-api)."""
