"""Answers a carrier's digest challenge for calls that pass through Kamailio."""
