"""Backends that Glance gave up, so that what lies in them can still be reached, and moved."""
