"""Starts as operators have them: another python3 first on PATH, another user; and starts that fail, which say why in
one line and have an exit status that is not 0.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kemi.settings import PROJECT, Settings
from kemi.start.run import kamailio_environment, prepare_database
from lab.programs import free_port
from tests.db.servers import Server
from tests.harness.database import ServerDatabase
from tests.harness.machine import SBIN
from tests.harness.node import Native, Options

USER = "kamailio"  # made by Debian's package
ENDS_WITHIN = 15.0  # seconds

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def another_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A python3 first on PATH with a prefix of its own, whose standard library is nobody else's."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").touch(mode=0o755)
    library = tmp_path / f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
    (library / "lib-dynload").mkdir(parents=True)
    (library / "os.py").write_text("raise ImportError('the standard library of another Python')\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")


def test_another_python_first_on_path_does_not_matter(
    another_python: None, native: Native, running_postgresql: Server
) -> None:
    database = ServerDatabase(running_postgresql.new_database())
    with native.running(Options(database=database)) as kamailio:
        kamailio.wait_for("the connection", lambda: connections(database), within=5)


def connections(database: ServerDatabase) -> bool:
    with database.transaction() as execute:
        question = "SELECT 1 FROM pg_stat_activity WHERE datname = ? AND application_name = 'kemi-trunkauth'"
        return bool(execute(question, (database.url.database or "",)).all())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project in a directory that its owner alone can enter."""
    home = tmp_path / "project"
    home.mkdir(mode=0o700)
    for folder in ("kemi", "kamailio", "db"):
        shutil.copytree(PROJECT / folder, home / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return home


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKAUTH_")}
    listen = f"udp:127.0.0.1:{free_port()}"
    return {**own, "TRUNKAUTH_STATE_DIR": str(tmp_path / "state"), "TRUNKAUTH_LISTEN": listen}


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command that is to end by itself; whatever is left of it is killed."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environment, cwd="/", stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            output, errors = process.communicate(timeout=ENDS_WITHIN)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def kamailio(settings: dict[str, str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Kamailio itself, without the checks of `python -m kemi run` before it."""
    assert run([sys.executable, "-m", "kemi", "db"], {**settings, "PYTHONPATH": str(PROJECT)}).returncode == 0
    parsed = Settings.from_environment(settings)
    prepare_database(parsed)
    for file in parsed.state_dir.glob("*.sqlite*"):
        file.chmod(0o600)
    command = [str(shutil.which("kamailio", path=SBIN)), "-DD", "-E", "-f", f"{PROJECT}/kamailio/kamailio.cfg"]
    return run([*command, "-Y", str(parsed.state_dir)], {**kamailio_environment(parsed, settings), **environment})


@as_root
def test_a_user_who_cannot_read_the_project_is_named_before_kamailio_starts(
    project: Path, settings: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "kemi", "run", "-u", USER, "-g", USER]
    done = run(command, {**settings, "PYTHONPATH": str(project)})
    file = project / "kemi/flow/routes.py"
    line = f"-u {USER}: that user cannot read {file}; chown or move it, or name another user with -u\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


@as_root
def test_a_second_kamailio_over_a_state_directory_leaves_the_first_one_its_commands(
    native: Native, settings: dict[str, str]
) -> None:
    with native.running(Options()) as first:
        own = {"TRUNKAUTH_STATE_DIR": str(first.state), "PYTHONPATH": str(PROJECT)}
        done = run([sys.executable, "-m", "kemi", "run", "-u", "root"], settings | own)
        line = f"TRUNKAUTH_STATE_DIR: a Kamailio runs over {first.state}; stop it, or choose another directory\n"
        assert (done.returncode, done.stderr) == (1, line)
        assert first.rpc("core.version")


def test_settings_that_only_the_script_refuses_end_kamailio_with_one_line(settings: dict[str, str]) -> None:
    done = kamailio(settings, TRUNKAUTH_PREEMPTIVE="perhaps")
    reason = "SettingError: TRUNKAUTH_PREEMPTIVE: 'perhaps' is not auto or off"
    assert (done.returncode, done.stderr) == (1, f"kemi-trunkauth cannot start: {reason}\n")


WORKERS_FAIL = f"""
import sys
sys.path.insert(0, "{PROJECT}/kamailio")
from kemi.flow import routes as flow

def child_init(self, rank):
    if rank > 0:
        raise OSError("no trunks\\nhere")
    return 0

flow.TrunkAuth.child_init = child_init
from trunkauth import mod_init
"""


def test_workers_that_cannot_begin_end_kamailio_with_a_status(settings: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(WORKERS_FAIL)
    done = kamailio(settings, TRUNKAUTH_SCRIPT=f"{tmp_path}/script.py")
    assert done.returncode == 1
    assert "kemi-trunkauth cannot start: OSError: no trunks here\n" in done.stderr
    assert "Traceback" not in done.stderr
