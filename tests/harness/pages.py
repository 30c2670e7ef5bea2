"""The pages that a running Kamailio serves over HTTP."""

from __future__ import annotations

import urllib.request
from http.client import HTTPException


def page(port: int, path: str) -> str:
    """Raises OSError, HTTPException."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def is_ready(port: int) -> bool:
    """Who connects to a port of loopback that nobody listens on may reach himself."""
    try:
        return page(port, "/health/ready") == "ready\n"
    except (OSError, HTTPException):
        return False
