"""Counters that processes share: nothing is lost between them, and memory for any number of trunks is bounded."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import os
from kemi.metrics import counts

PROCESSES, TRUNKS = 4, 100

def count():
    for number in range(TRUNKS):
        counts.count_call(f"trunk-{number}", "failed")
        counts.count_answered(f"trunk-{number}", 1500)
        counts.count_attempt(f"trunk-{number}", 503)
        counts.count_attempt(f"trunk-{number}", 0)
        counts.count_refused(f"trunk-{number}", "md5-SESS")
        counts.count_refused(f"trunk-{number}", "SHA3-512")
        counts.count_preemptive(f"trunk-{number}", counts.TURNED_DOWN)

children = []
for _ in range(PROCESSES):
    child = os.fork()
    if not child:
        count()
        os._exit(0)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * PROCESSES
found = counts.totals()
assert sorted(found) == sorted(f"trunk-{number}" for number in range(TRUNKS))
numbers = found["trunk-99"]
expected = {
    counts.CALLS: 1, counts.CALLS + 6: 1, counts.ATTEMPTS: 1, counts.ATTEMPTS + 3: 1, counts.ATTEMPTS + 5: 1,
    counts.CHALLENGED + counts.CHALLENGES.index(("MD5-sess", "refused")): 1,
    counts.CHALLENGED + counts.CHALLENGES.index(("other", "refused")): 1,
    counts.TURNED_DOWN: 1, counts.SETUPS + 4: 1, counts.SETUP_SUM: 1500,
}
assert {place: number // PROCESSES for place, number in enumerate(numbers) if number} == expected
assert counts.totals(counts.CALLS, 2)["trunk-0"] == [PROCESSES, 0]
"""

MANY = """
import os
from kemi.metrics import counts

for number in range(counts.MOST + 500):
    counts.count_call(f"{number:x}" + "\\u00fc" * 60, "busy")
counts.count_call("", "busy")
found = counts.totals()
assert len(found) == counts.MOST + 1
assert found[counts.OTHERS][2] == 501
assert found["1f" + "\\u00fc" * 60][2] == 1
assert os.fstat(counts._FILE).st_size < 1024 * (counts.MOST + 64)
"""

LONG = """
from kemi.metrics import counts

counts.count_call("\\u6f22" * 100, "rejected")  # 300 octets, of a row that cannot be used
assert list(counts.totals()) == ["\\u6f22" * 85]
"""

WAITS = """
import fcntl, os, time
from pathlib import Path
from kemi.metrics import counts

fcntl.lockf(counts._FILE, fcntl.LOCK_EX)
child = os.fork()
if not child:
    counts.count_call("berlin", "busy")
    os._exit(0)
until = time.monotonic() + 10
while not any("->" in line and f" {child} " in line for line in Path("/proc/locks").read_text().splitlines()):
    assert time.monotonic() < until, "it has taken memory while another process does"
fcntl.lockf(counts._FILE, fcntl.LOCK_UN)
assert os.waitpid(child, 0)[1] == 0
assert counts.totals()["berlin"][2] == 1
"""


def run(program: str) -> None:
    """In a process of its own: these counters are for ever."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr


def test_what_processes_count_at_once_is_all_there() -> None:
    run(PROGRAM)


def test_a_process_takes_memory_when_no_other_does() -> None:
    run(WAITS)


def test_ten_thousand_trunks_have_numbers_of_their_own_and_more_share_one() -> None:
    run(MANY)


def test_a_name_that_is_cut_within_a_character_can_be_read() -> None:
    run(LONG)
