"""Keys and certificates for tests, on the disk."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
import trustme

from recwire_server.access.key import Key, new_token
from recwire_server.access.key_file import changing_keys
from recwire_server.access.role import Role
from recwire_server.access.secret import hash_secret

Metadata = tuple[tuple[str, str], ...]


def add_key(
    path: Path, role: Role, *, id_prefix: str = "", expire_time: datetime | None = None, limits: tuple[str, ...] = ()
) -> str:
    """Add a key to a file, as `recwire-server keys create` does; return how it reads."""
    token = new_token()
    key = Key(token.key_id, "", role, id_prefix, datetime.now(UTC), expire_time, hash_secret(token.secret), limits)
    with changing_keys(path) as keys:
        keys[key.id] = key
    return token.text


def revoke_key(path: Path, text: str) -> None:
    """Remove a key from a file, as `recwire-server keys revoke` does."""
    with changing_keys(path) as keys:
        del keys[text.split("_")[1]]


def with_another_secret(text: str) -> str:
    """Return a key of the same id whose secret is wrong in its last digit."""
    return text[:-1] + ("1" if text[-1] == "0" else "0")


def bearer(text: str) -> Metadata:
    """Return the metadata that shows a key."""
    return (("authorization", f"Bearer {text}"),)


@dataclass(frozen=True)
class CertificateFiles:
    """A server's certificate, its key, and a client's; and the certificate of who signed them."""

    folder: Path
    authority: trustme.CA

    @property
    def settings(self) -> dict[str, Path]:
        """What a server with TLS is given."""
        return {
            "tls_certificate_file": self.folder / "server.pem",
            "tls_key_file": self.folder / "server-key.pem",
        }

    @property
    def ca(self) -> Path:
        """What a client trusts."""
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        """A client's own."""
        return self.folder / "client.pem"

    @property
    def key(self) -> Path:
        """The key of it."""
        return self.folder / "client-key.pem"

    def server_credentials(self, *, asks_for_certificate: bool) -> grpc.ServerCredentials:
        """What a server of a test's own is given."""
        pair = [(self.folder / name).read_bytes() for name in ("server-key.pem", "server.pem")]
        return grpc.ssl_server_credentials([pair], self.ca.read_bytes(), require_client_auth=asks_for_certificate)

    @property
    def client_ca_file(self) -> Path:
        """What a server that asks clients for certificates is given beside."""
        return self.folder / "ca.pem"


def make_certificates(folder: Path) -> CertificateFiles:
    """Write certificates of a new authority into a folder, over those that are there, one file after the other."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    client = authority.issue_cert("client@example.org")
    for name, content in (
        ("server.pem", b"".join(blob.bytes() for blob in certificate.cert_chain_pems)),
        ("server-key.pem", certificate.private_key_pem.bytes()),
        ("ca.pem", authority.cert_pem.bytes()),
        ("client.pem", client.cert_chain_pems[0].bytes()),
        ("client-key.pem", client.private_key_pem.bytes()),
    ):
        (folder / name).write_bytes(content)
    return CertificateFiles(folder, authority)
