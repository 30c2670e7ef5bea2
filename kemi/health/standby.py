"""Active or standby: of the nodes that share an address, the one that has it is active (docs/two-nodes.md).

1. A node is active if the first address that it listens on is this machine's.
2. A standby sends nothing by itself, no REGISTER, no probe, no question to a caller: it could not leave from an address
   that is not here, or the active node would get the reply, and both would count as a failure.
3. What another node has sent while it had an address is not known here. So whenever one goes or comes, `RUN` changes:
   to the marks of calls that are up this is another Kamailio, and CSeqs pass the other node's (dialog/cseq.py).

Pure: the addresses of the machine and the dice come in.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence

from kemi.line import Line, notice

# 32 random bits, in memory that all processes share since the fork: reading them is no call into Kamailio.
RUN = memoryview(mmap.mmap(-1, 4)).cast("I")


class Standby:
    """Knows which of the addresses are here, in the order of TRUNKAUTH_LISTEN. dice: 32 random bits."""

    def __init__(self, addresses: Sequence[str], dice: Callable[[], int]) -> None:
        self._addresses = addresses
        self._dice = dice
        self._here: frozenset[str] = frozenset(addresses)
        self.is_active = True

    def look(self, here: frozenset[str]) -> Line | None:
        """Take which of the addresses are this machine's now; return a line for the log if the node's part changes."""
        if here != self._here:  # when one goes, too: the first request may be here before we see that it is back
            RUN[0] = self._dice()
        self._here, was_active = here, self.is_active
        first = self._addresses[0]
        self.is_active = first in here
        if self.is_active == was_active:
            return None
        return notice(outcome="active" if self.is_active else "standby", address=first)
