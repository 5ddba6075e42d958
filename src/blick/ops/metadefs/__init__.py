"""Metadata definitions: what callers do with them, a module per noun (spec: metadefs-api)."""
