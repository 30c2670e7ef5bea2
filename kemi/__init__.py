"""Answers a carrier's digest challenge for calls that pass through Kamailio."""

VERSION = "0.1.0"
