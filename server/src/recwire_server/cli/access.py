"""How commands reach a server: the options that all of them have, and what to do about those that do not fit."""

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer

from recwire import Client, RecwireError, UnavailableError, tls_credentials
from recwire.channel import Connection
from recwire.credentials import check_api_key
from recwire_server.cli.leave import leave

HINTS = {
    grpc.StatusCode.UNAUTHENTICATED: "give a key that the server knows with --api-key-file FILE, or in RECWIRE_API_KEY",
    grpc.StatusCode.PERMISSION_DENIED: "give a key that may do this with --api-key-file FILE, or in RECWIRE_API_KEY",
}
PLAIN_HINT = "if it speaks TLS, give --tls or --ca-file FILE"
TLS_HINT = "does it speak TLS, with a certificate for this name and of an authority that is known (--ca-file FILE)?"


@dataclass(frozen=True)
class Access:
    """Who calls, and whether over TLS, as a command's options say.

    make_credentials: makes the same credentials in another process.
    """

    api_key: str | None = None
    credentials: grpc.ChannelCredentials | None = None
    make_credentials: Callable[[], grpc.ChannelCredentials] | None = None

    def connection(self, address: str) -> Connection:
        """Return how to reach an address; leave with status 2 where that would not be safe."""
        try:
            return Connection(address, api_key=self.api_key, credentials=self.credentials)
        except ValueError:
            leave(f"an API key goes to {address} over TLS only: give --tls, or --ca-file FILE with its authority", 2)

    @contextmanager
    def client(self, address: str, named_by: str = "--to HOST:PORT") -> Iterator[Client]:
        """Give a client for the length of the block; leave with status 1, and a sentence, where the server refuses.

        named_by: what the command takes the address from.
        """
        self.connection(address)
        try:
            with Client(address, api_key=self.api_key, credentials=self.credentials) as client:
                yield client
        except UnavailableError as error:
            hint = "" if error.reason else self.hint(error.code)  # with a reason it is recwire that answers
            leave(f"nothing takes calls at {address} ({error}): name a running server with {named_by}{hint}")
        except RecwireError as error:
            leave(f"{error}{self.hint(error.code)}")

    def hint(self, code: grpc.StatusCode | None) -> str:
        """Return what to add to an error: which options may mend it; empty: none."""
        if code is grpc.StatusCode.UNAVAILABLE:
            return f"; {TLS_HINT if self.credentials else PLAIN_HINT}"
        return f"; {HINTS[code]}" if code in HINTS else ""


def with_access(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that has the options of access beside its own, and gives its `access` what they say."""
    options = inspect.signature(_access).parameters
    signature = inspect.signature(command)
    own = [parameter for name, parameter in signature.parameters.items() if name != "access"]

    @wraps(command)
    def run(**given: Any) -> None:
        access = _access(**{name: given.pop(name) for name in options})
        command(**given, access=access)

    run.__signature__ = signature.replace(parameters=[*own, *options.values()])  # type: ignore[attr-defined]
    return run


def _file(flag: str, told: str) -> Any:
    return typer.Option(flag, metavar="FILE", help=told, show_default=False)


def _access(
    api_key_file: Annotated[
        Path | None, _file("--api-key-file", "The API key to call with; or give the key in RECWIRE_API_KEY.")
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS, and trust the usual authorities.")] = False,
    ca_file: Annotated[
        Path | None, _file("--ca-file", "Speak TLS, and trust the authorities in this PEM file instead.")
    ] = None,
    client_certificate_file: Annotated[
        Path | None, _file("--client-certificate-file", "PEM of a certificate, for a server that asks who calls.")
    ] = None,
    client_key_file: Annotated[Path | None, _file("--client-key-file", "PEM of its private key.")] = None,
) -> Access:
    """Return what options say; leave with status 2 where they cannot be used."""
    try:
        api_key = api_key_file.read_text().strip() if api_key_file else os.environ.get("RECWIRE_API_KEY") or None
        if api_key is not None:
            check_api_key(api_key)
        credentials = make_credentials = None
        if tls or ca_file or client_certificate_file or client_key_file:
            make_credentials = partial(
                tls_credentials, ca_file=ca_file, certificate_file=client_certificate_file, key_file=client_key_file
            )
            credentials = make_credentials()
    except OSError as error:
        leave(f"{error.filename} cannot be read: {error.strerror}", 2)
    except ValueError as error:
        leave(str(error), 2)
    return Access(api_key, credentials, make_credentials)
