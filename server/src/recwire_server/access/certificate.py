"""The server's certificate, and the authority of its clients'."""

import logging
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from recwire_server.access import CertificateError
from recwire_server.access.file_change import FileChanges

logger = logging.getLogger(__name__)


class Certificates:
    """Certificates from PEM files, read again once they have changed; connections that are open keep theirs.

    certificate_file: with the chain, the server's own first. client_ca_file: whose certificates a client must show
    one of; None: it needs none. gRPC asks on threads of its own: the lock owns all state.
    """

    def __init__(self, certificate_file: Path, key_file: Path, client_ca_file: Path | None) -> None:
        self._certificate_file = certificate_file
        self._key_file = key_file
        self._client_ca_file = client_ca_file
        self._changes = FileChanges([path for path in (certificate_file, key_file, client_ca_file) if path])
        self._next: grpc.ServerCertificateConfiguration | None = None
        self._lock = threading.Lock()

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a port is opened with; raises CertificateError if the files cannot be used."""
        self._changes.any()
        fetch: Callable[[], Any] = self._fetch  # gRPC takes None, says its documentation, but not its stubs
        return grpc.dynamic_ssl_server_credentials(self._read(), fetch, self._client_ca_file is not None)

    def reload(self) -> None:
        """Read the files again, for the connections to come. What cannot be used leaves all as it was, and the log says
        so."""
        with self._lock:
            self._changes.any()
            self._read_or_warn()

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return new certificates, None for none; gRPC asks before each handshake."""
        with self._lock:
            if self._changes.any():
                self._read_or_warn()
            new, self._next = self._next, None
            return new

    def _read_or_warn(self) -> None:
        try:
            self._next = self._read()
        except CertificateError as error:
            logger.warning("the certificates stay as they were: %s", error)
        else:
            logger.info("certificates read again from %s", self._certificate_file)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        """Return the certificates, once they have been found to fit each other: gRPC would say no more than that it
        failed."""
        chain, key = _content(self._certificate_file), _content(self._key_file)
        authority = _content(self._client_ca_file) if self._client_ca_file else None
        try:
            # Without a password given, an encrypted key would ask the terminal for one.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate_file, self._key_file, password="")
        except (OSError, ValueError) as error:
            raise CertificateError(
                f"{self._certificate_file} and {self._key_file} are no certificate and its key in PEM, unencrypted:"
                f" {error}"
            ) from error
        if (chain, key) != (_content(self._certificate_file), _content(self._key_file)):
            raise CertificateError(f"{self._certificate_file} or {self._key_file} changed while being read")
        if authority is not None:
            _check_authority(authority, self._client_ca_file)
        return grpc.ssl_server_certificate_configuration([(key, chain)], authority)


def _check_authority(content: bytes, path: Path | None) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=content.decode("ascii"))
    except (OSError, ValueError) as error:
        raise CertificateError(f"{path} has no certificates in PEM: {error}") from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from error
