"""Digest authentication, pure: no I/O, no clock, the standard library alone."""
