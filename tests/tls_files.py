"""Certificates for tests, in files as commands and clients take them."""

from dataclasses import dataclass
from pathlib import Path

import grpc
import trustme


@dataclass(frozen=True)
class TlsFiles:
    """ca: the authority of both ends. certificate, key: a client's. server: a server on 127.0.0.1 that asks for one;
    server_alone: one that does not."""

    ca: Path
    certificate: Path
    key: Path
    server: grpc.ServerCredentials
    server_alone: grpc.ServerCredentials


def make_tls_files(folder: Path) -> TlsFiles:
    """Return certificates of a new authority."""
    authority = trustme.CA()
    client, served = authority.issue_cert("back-end.example.org"), authority.issue_cert("127.0.0.1")
    ca, certificate, key = folder / "ca.pem", folder / "client.pem", folder / "client.key"
    authority.cert_pem.write_to_path(str(ca))
    client.cert_chain_pems[0].write_to_path(str(certificate))
    client.private_key_pem.write_to_path(str(key))
    pair = served.private_key_pem.bytes(), served.cert_chain_pems[0].bytes()
    server = grpc.ssl_server_credentials([pair], authority.cert_pem.bytes(), require_client_auth=True)
    return TlsFiles(ca, certificate, key, server, grpc.ssl_server_credentials([pair]))
