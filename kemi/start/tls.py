"""The certificates of TLS, as TRUNKAUTH_TLS_CA, _CERT and _KEY name them, and the profiles of Kamailio's tls module.

That module compares no name with a certificate. So the connections that carriers are sent to are made with the profile
JUDGED, which takes any certificate, and none is used before health/securing.py has judged its certificate; it
would otherwise be unknown why one is wrong. All other connections have the default profile, which takes those of known
CAs alone.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from kemi.settings import Settings
from kemi.trunks.secure import Wanted

JUDGED = "judged"  # as tls.cfg has it

_PROFILES = """\
[server:default]
method = TLSv1.2+
verify_certificate = no
require_certificate = no
{own}
[client:default]
method = TLSv1.2+
verify_certificate = yes
require_certificate = yes
{ca}
{own}
[client:any]
server_id = {judged}
server_name = {judged}
method = TLSv1.2+
verify_certificate = no
require_certificate = no
{ca}
{own}"""


class CertificateError(RuntimeError):
    """A file of certificates that cannot be used; the text is one line for the operator."""


def check(settings: Settings) -> None:
    """Check that the files can be used. Raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        if settings.tls_ca.is_dir():
            context.load_verify_locations(capath=settings.tls_ca)
        else:
            context.load_verify_locations(settings.tls_ca)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"TRUNKAUTH_TLS_CA: {settings.tls_ca}: {_reason(error)}") from None
    if not (settings.tls_cert and settings.tls_key):
        return
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=lambda: "")
    except (OSError, ValueError, ssl.SSLError) as error:
        files = " and ".join(map(str, dict.fromkeys((settings.tls_cert, settings.tls_key))))
        raise CertificateError(f"TRUNKAUTH_TLS_CERT: {files}: {_reason(error)}") from None


def context(settings: Settings, wanted: Wanted) -> ssl.SSLContext:
    """Return the context in which Python judges a carrier's certificate as calls do, but for names that are URIs.
    Raises CertificateError.
    """
    check(settings)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if wanted.name else any_certificate()
    if wanted.name and settings.tls_ca.is_dir():
        made.load_verify_locations(capath=settings.tls_ca)
    elif wanted.name:
        made.load_verify_locations(settings.tls_ca)
    if settings.tls_cert:
        made.load_cert_chain(settings.tls_cert, settings.tls_key)
    return made


def any_certificate() -> ssl.SSLContext:
    """Return a context that takes any certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def write(settings: Settings) -> None:
    """Write the profiles. Raises OSError."""
    own = 'certificate = ""\nprivate_key = ""\n'  # Kamailio's own would be cert.pem beside kamailio.cfg
    if settings.tls_cert:
        own = f"certificate = {settings.tls_cert}\nprivate_key = {settings.tls_key}\n"
    kind = "ca_path" if settings.tls_ca.is_dir() else "ca_list"
    config(settings).write_text(_PROFILES.format(own=own, ca=f"{kind} = {settings.tls_ca}", judged=JUDGED))


def config(settings: Settings) -> Path:
    """Return the file of the profiles. It is not called tls.cfg: Kamailio, which runs in the state directory,
    would include it in the place of kamailio/tls.cfg.
    """
    return settings.state_dir / "tls.profiles"


def files(settings: Settings) -> tuple[Path, ...]:
    """Return the files whose change is a change of certificates."""
    return tuple(filter(None, (settings.tls_ca, settings.tls_cert, settings.tls_key)))


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"no PEM that can be used: {error.reason or error}"
    return (isinstance(error, OSError) and error.strerror) or "not readable"
