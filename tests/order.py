"""Which tests `make test` runs in one process: those that share what they start."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling


class ByKamailio(LoadFileScheduling):  # type: ignore[misc]
    """The tests of a file that run on this machine's Kamailio, or on none, and those on the container's."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        return f"{file} in a container" if "container" in test.partition("[")[2] else file
