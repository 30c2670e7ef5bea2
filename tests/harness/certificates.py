"""Certificates of a made CA: what the ends of a call by TLS show each other. Made by the openssl command."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, and the CA that the other end's has to be of; None: the other end shows none."""

    certificate: Path
    key: Path
    ca: Path | None = None

    def serving(self) -> ssl.SSLContext:
        """The context of an end that is connected to."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if self.ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context

    def connecting(self) -> ssl.SSLContext:
        """The context of an end that connects, and takes any certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(self.certificate, self.key)
        return context


class Authority:
    """A CA with its files in this folder, which anybody may read."""

    def __init__(self, folder: Path, name: str = "made CA") -> None:
        self.folder = folder
        self.certificate, self._key = folder / "ca.pem", folder / "ca.key"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)  # a container's user reads it too
        _openssl("req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={name}", "-keyout", self._key,
                 "-out", self.certificate)  # fmt: skip

    def issue(self, *names: str, days: int = 2, of_client: Path | None = None) -> Identity:
        """A certificate for these names, such as DNS:a.test, IP:127.0.0.1 or URI:sip:a.test. days: negative for one
        that has expired. of_client: the CA that who shows it wants of the other end.
        """
        stem = self.folder / f"{len(list(self.folder.iterdir()))}"
        request, extension = stem.with_suffix(".csr"), stem.with_suffix(".ext")
        certificate, key = stem.with_suffix(".pem"), stem.with_suffix(".key")
        extension.write_text(f"subjectAltName={','.join(names)}\n" if names else "basicConstraints=CA:FALSE\n")
        _openssl("req", *_NEW_KEY, "-subj", "/CN=sip.common.test", "-keyout", key, "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
                 "-days", str(days), "-extfile", extension, "-out", certificate)  # fmt: skip
        for path in (certificate, key):
            path.chmod(0o644)
        return Identity(certificate, key, of_client)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=20)
