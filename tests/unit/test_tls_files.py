"""The files of certificates: what is wrong with them is one line, and the profiles that name them for Kamailio."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kemi.settings import FILES, Settings
from kemi.start import run, tls
from tests.unit.test_certificate import PEM


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    ca = tmp_path / "ca.pem"
    ca.write_text(PEM)
    environment = {"TRUNKAUTH_STATE_DIR": str(tmp_path), "TRUNKAUTH_TLS_CA": str(ca)}
    return Settings.from_environment(environment | {"TRUNKAUTH_LISTEN": "tls:127.0.0.1:5061"})


def test_a_ca_alone_will_do(settings: Settings) -> None:
    tls.check(settings)
    tls.write(settings)
    text = tls.config(settings).read_text()
    assert text.count(f"\nca_list = {settings.tls_ca}\n") == 2
    assert text.count('\ncertificate = ""\nprivate_key = ""\n') == 3
    assert text.count("\nmethod = TLSv1.2+\n") == 3
    assert f"server_id = {tls.JUDGED}\n" in text
    assert tls.files(settings) == (settings.tls_ca,)


def test_a_folder_of_cas_and_a_certificate_whose_file_holds_its_key(settings: Settings, tmp_path: Path) -> None:
    own = {"TRUNKAUTH_TLS_CERT": "/etc/own.pem", "TRUNKAUTH_TLS_CA": str(tmp_path)}
    found = Settings.from_environment({"TRUNKAUTH_STATE_DIR": str(tmp_path), **own})
    tls.write(found)
    text = tls.config(settings).read_text()
    assert text.count(f"\nca_path = {tmp_path}\n") == 2
    assert text.count("\ncertificate = /etc/own.pem\nprivate_key = /etc/own.pem\n") == 3


def test_no_tls_is_prepared_without_a_socket_for_it(settings: Settings) -> None:
    assert settings.has_tls
    assert not Settings.from_environment({"TRUNKAUTH_STATE_DIR": str(settings.state_dir)}).has_tls


@pytest.mark.parametrize(
    ("variable", "text", "line"),
    [
        ("tls_ca", None, "TRUNKAUTH_TLS_CA: {path}: No such file or directory"),
        ("tls_ca", "none", "TRUNKAUTH_TLS_CA: {path}: no PEM that can be used: "),
        ("tls_cert", None, "TRUNKAUTH_TLS_CERT: {path} and {key}: No such file or directory"),
        ("tls_cert", PEM, "TRUNKAUTH_TLS_CERT: {path} and {key}: no PEM that can be used: "),
    ],
)
def test_files_that_cannot_be_used_stop_the_start(
    settings: Settings, tmp_path: Path, variable: str, text: str | None, line: str
) -> None:
    path, key = tmp_path / "x.pem", tmp_path / "key.pem"
    key.write_text("no key")
    if text:
        path.write_text(text)
    wrong = replace(settings, tls_ca=path) if variable == "tls_ca" else replace(settings, tls_cert=path, tls_key=key)
    with pytest.raises(run.StartError) as caught:
        run.prepare_tls(wrong)
    assert str(caught.value).startswith(line.format(path=path, key=key))


def test_profiles_that_cannot_be_written_stop_the_start(settings: Settings) -> None:
    tls.config(settings).mkdir()
    with pytest.raises(run.StartError, match=r"^TRUNKAUTH_STATE_DIR: .*Is a directory"):
        run.prepare_tls(settings)


def test_a_kamailio_without_the_module_stops_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "DEBIANS_PREFIX", tmp_path)
    with pytest.raises(run.StartError, match="apt-get install kamailio-tls-modules"):
        run.prepare_tls(settings)


def test_kamailio_includes_nothing_of_the_state_directory_by_mistake(settings: Settings) -> None:
    """It runs there, and looks there first."""
    assert tls.config(settings).name not in {path.name for path in (FILES / "kamailio").iterdir()}
