"""Copying images between image services that nobody here runs: clients of the v2 API, a folder of dumps, the verbs."""
