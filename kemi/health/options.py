"""Can a SIP server take calls? Ask it, as RFC 3261 section 11 means it: send OPTIONS and wait for an answer.

    python3 options.py [udp:127.0.0.1:5060 [seconds]]

Exit status 0 if the server answered 200 within the time (2 seconds unless told), else 1 and one line that says
what came: 503 as long as Kamailio has no trunks that it can read, or its memory is full. Without an address it asks the
first socket in TRUNKAUTH_LISTEN; an interface's name stands for its IPv4 address, and by TLS any certificate will
do. It serves the containers' health checks and the demo, so it needs nothing but Python's own modules; it must never
do more to a server than ask.
"""

import fcntl
import os
import secrets
import socket
import ssl
import struct
import sys
import time

RETRANSMIT = 0.25  # seconds; below RFC 3261's T1, because a server that is just starting is not far away
SIOCGIFADDR = 0x8915  # netdevice(7)


def options(transport: str, target: str, local: str) -> bytes:
    """The request. `rport` makes the answer come back to the port that it was sent from (RFC 3581)."""
    token = secrets.token_hex(8)
    lines = (
        f"OPTIONS sip:{target};transport={transport} SIP/2.0",
        f"Via: SIP/2.0/{transport.upper()} {local};rport;branch=z9hG4bK{token}",
        "Max-Forwards: 70",
        f"From: <sip:health@{local}>;tag={token}",
        f"To: <sip:{target}>",
        f"Call-ID: {token}@health",
        "CSeq: 1 OPTIONS",
        "Content-Length: 0",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def ask(transport: str, host: str, port: int, seconds: float) -> str:
    """The status line of the server's answer, or "" where none came in time."""
    deadline = time.monotonic() + seconds
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    family, _, _, _, address = socket.getaddrinfo(host, port, type=kind)[0]
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.socket(family, kind) as sock:
                sock.settimeout(min(RETRANSMIT, left))
                sock.connect(address)
                local = sock.getsockname()
                with secured(sock) if transport == "tls" else sock as end:
                    end.sendall(options(transport, uri_host(host, port), uri_host(local[0], local[1])))
                    return end.recv(65535).decode(errors="replace").split("\r\n", 1)[0]
        except TimeoutError:
            continue
        except OSError:  # nobody listens there yet
            time.sleep(min(RETRANSMIT, max(left, 0)))
    return ""


def secured(sock: socket.socket) -> ssl.SSLSocket:
    """The connection, by TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(sock)


def uri_host(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable(host: str) -> str:
    """The address behind an interface's name; anything else as it is."""
    if host in (name for _, name in socket.if_nameindex()):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            answer = fcntl.ioctl(sock, SIOCGIFADDR, struct.pack("256s", host.encode()))
        return socket.inet_ntoa(answer[20:24])
    return host


def main(argv: list[str]) -> int:
    target = argv[1] if len(argv) > 1 else os.environ.get("TRUNKAUTH_LISTEN", "").partition(" ")[0].partition("/")[0]
    transport, _, address = target.partition(":")
    host, _, port = address.rpartition(":")
    if transport not in ("udp", "tcp", "tls") or not host or not port.isdecimal():
        print(__doc__, file=sys.stderr)
        return 2
    seconds = float(argv[2]) if len(argv) > 2 else 2.0
    try:
        status = ask(transport, reachable(host.strip("[]")), int(port), seconds)
    except OSError as error:
        status = str(error)
    if status.split(" ")[1:2] == ["200"]:
        return 0
    print(f"{target}: {status or f'no answer to OPTIONS in {seconds:g} s'}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
