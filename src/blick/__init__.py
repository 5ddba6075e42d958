"""Blick: an image service for clouds."""
