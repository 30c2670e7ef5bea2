"""A request that we send on our own: an OPTIONS, or the end of a call that nobody waits for."""

from __future__ import annotations

from typing import NamedTuple


class Request(NamedTuple):
    """next_hop: a URI that needs no name server. sender: the value of From. fields: the other header fields, each with
    its CRLF. socket: the sending one, empty for any. server_name: said if a connection by TLS is opened for it,
    whose certificate is judged then, whatever it is; empty for none; None if it may use no such connection. trunk: the
    l_uuid whose carrier's challenge is answered, once; empty for none.
    """

    method: str
    uri: str
    next_hop: str
    sender: str
    fields: str
    socket: str = ""
    server_name: str | None = None
    trunk: str = ""
