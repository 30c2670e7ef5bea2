"""More shared memory than the machine, the container or the service has is refused before Kamailio starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from kemi.start import memory

MUCH = "MemTotal:  999999 kB\nMemAvailable:  1048576 kB\n"
SERVICE = "system.slice/kemi-trunkauth.service"


def of_machine(monkeypatch: pytest.MonkeyPatch, folder: Path, groups: str, limits: dict[str, str]) -> None:
    """What the kernel tells. groups: of this process. limits: group -> its memory.max."""
    for name, content in (("MACHINE", MUCH), ("OWN_GROUP", groups)):
        monkeypatch.setattr(memory, name, folder / name)
        (folder / name).write_text(content)
    monkeypatch.setattr(memory, "GROUPS", folder / "cgroup")
    for group, limit in limits.items():
        (folder / "cgroup" / group).mkdir(parents=True, exist_ok=True)
        (folder / "cgroup" / group / "memory.max").write_text(f"{limit}\n")


LITTLE = {
    "the machine": ("1:memory:/x\n", {}, 1024),
    "no limit": (f"0::/{SERVICE}\n", {SERVICE: "max"}, 1024),
    "the container": ("0::/\n", {"": "535822336"}, 511),
    "the service": (f"4:memory:/x\n0::/{SERVICE}\n", {SERVICE: "535822336"}, 511),
    "the slice around it": (f"0::/{SERVICE}\n", {SERVICE: "max", "system.slice": "535822336"}, 511),
    "another service": (f"0::/{SERVICE}\n", {"system.slice/another.service": "1048576"}, 1024),
}


@pytest.mark.parametrize(("groups", "limits", "most"), LITTLE.values(), ids=LITTLE)
def test_as_much_as_there_is_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, limits: dict[str, str], most: int
) -> None:
    of_machine(monkeypatch, tmp_path, groups, limits)
    memory.check(most)
    with pytest.raises(memory.MemoryLackError, match=f"{most + 1} MiB are more than the {most} MiB that are available"):
        memory.check(most + 1)


def test_a_kernel_without_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_machine(monkeypatch, tmp_path, "", {})
    memory.OWN_GROUP.unlink()
    memory.check(1024)
