"""Who calls, and how the two ends know each other: an API key, and TLS."""

import re
from ipaddress import ip_address
from os import PathLike
from pathlib import Path

import grpc

ON_THIS_MACHINE = re.compile("unix:|unix-abstract:")
RESOLVERS = re.compile("^(dns:(///)?|ipv4:|ipv6:)")  # what may stand before the hosts of gRPC's names
HOST = re.compile(r"\[?(.+?)\]?(:\d+)?")


def tls_credentials(
    *,
    ca_file: str | PathLike[str] | None = None,
    certificate_file: str | PathLike[str] | None = None,
    key_file: str | PathLike[str] | None = None,
) -> grpc.ChannelCredentials:
    """Return TLS for a client, from files in PEM.

    ca_file: the certificates that the server's is signed by, or is; None: the usual authorities. certificate_file, with
    what signed it, and key_file, its private key: the client's own, for a server that asks for one.

    Raises OSError for a file that cannot be read, ValueError for one that is no PEM, and for a certificate_file without
    a key_file.
    """
    if (certificate_file is None) != (key_file is None):
        raise ValueError("certificate_file and key_file go together: give both, or neither")
    return grpc.ssl_channel_credentials(_pem(ca_file), _pem(key_file), _pem(certificate_file))


def check_api_key(api_key: str) -> None:
    """Raise ValueError for what cannot be a key: gRPC's own error would show it."""
    for place, character in enumerate(api_key):
        if not "!" <= character <= "~":
            raise ValueError(
                f"api_key has a character that no key has, {character!a}, the {place + 1:,}th of {len(api_key):,}: pass"
                " the key alone, without spaces or line ends"
            )
    if not api_key:
        raise ValueError("api_key is empty: pass a key, or None to call without")


def stays_on_machine(address: str) -> bool:
    """Return whether what is sent to an address certainly does not leave this machine."""
    if ON_THIS_MACHINE.match(address):
        return True
    return all(_is_loopback(one) for one in RESOLVERS.sub("", address, count=1).split(","))


def _is_loopback(address: str) -> bool:
    matched = HOST.fullmatch(address)
    host = matched[1] if matched else ""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False  # a name, which may lead anywhere


def _pem(file: str | PathLike[str] | None) -> bytes | None:
    if file is None:
        return None
    content = Path(file).read_bytes()
    if b"-----BEGIN " not in content:
        raise ValueError(f"{file} is no PEM file: it has no line that begins with -----BEGIN")
    return content
