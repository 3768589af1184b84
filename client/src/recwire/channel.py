"""How a client reaches the server: the channel, its options, and the stubs."""

from typing import Any

import grpc

from recwire.credentials import check_api_key, stays_on_machine
from recwire.service_config import service_config
from recwire.v1.admin_service_pb2_grpc import AdminServiceStub
from recwire.v1.catalog_service_pb2_grpc import CatalogServiceStub
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire.v1.user_service_pb2_grpc import UserServiceStub

DEFAULT_ADDRESS = "127.0.0.1:50051"

MAX_REQUEST_BYTES = 4 * 1024 * 1024  # what the server takes
MAX_RESPONSE_BYTES = 64 * 1024 * 1024  # 1,000 recommendations, each explained by 1,000 events


class Connection:
    """How a server is reached, checked: the arguments are those of `Client`, and so is what is raised."""

    def __init__(
        self,
        address: str,
        *,
        api_key: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        allow_plaintext_api_key: bool = False,
    ) -> None:
        self.address = address
        self._credentials = credentials
        self._api_key = api_key
        self._options = options()
        if api_key is None:
            return
        check_api_key(api_key)
        if credentials is None and stays_on_machine(address):
            self._options.append(("grpc.enable_http_proxy", 0))  # one that the environment names would see the key
        elif credentials is None and not allow_plaintext_api_key:
            raise ValueError(
                f"an API key would go to {address} in plain text, for everybody on the way to read: pass credentials,"
                " such as recwire.tls_credentials(), or allow_plaintext_api_key=True where the network is safe"
            )

    def open(self) -> grpc.Channel:
        """Return a channel for ordinary code."""
        if self._credentials is None:
            return grpc.insecure_channel(self.address, self._options)
        return grpc.secure_channel(self.address, self._credentials, self._options)

    def open_aio(self) -> grpc.aio.Channel:
        """Return a channel for the event loop that runs."""
        if self._credentials is None:
            return grpc.aio.insecure_channel(self.address, self._options)
        return grpc.aio.secure_channel(self.address, self._credentials, self._options)

    def stubs(self, channel: grpc.Channel | grpc.aio.Channel) -> "Stubs":
        """Return the stubs over one of these channels; their calls bring the key."""
        return Stubs(channel if self._api_key is None else _WithKey(channel, self._api_key))


class _WithKey:
    """A channel as the generated stubs use it, whose calls bring a key.

    As metadata of each call: an interceptor makes each of asyncio's calls a task more, and gRPC's own credentials for
    calls take a thread, and no plain text.
    """

    def __init__(self, channel: grpc.Channel | grpc.aio.Channel, api_key: str) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {api_key}"),)

    def __getattr__(self, kind: str) -> Any:
        """Return what makes the methods of a kind: unary_unary, ..."""

        def make(*args: Any, **keywords: Any) -> Any:
            method, metadata = getattr(self._channel, kind)(*args, **keywords), self._metadata
            return lambda *given, **named: method(*given, metadata=metadata, **named)

        return make


class Stubs:
    """The generated stubs of all services, over a channel of either kind."""

    def __init__(self, channel: Any) -> None:
        self.recommender = RecommenderServiceStub(channel)
        self.catalog = CatalogServiceStub(channel)
        self.user = UserServiceStub(channel)
        self.admin = AdminServiceStub(channel)


def options() -> list[tuple[str, int | str]]:
    """Return the options of a channel."""
    return [
        ("grpc.service_config", service_config()),
        # gRPC does not retry a request beyond this size; its own 256 KiB leaves out most bulk writes.
        ("grpc.per_rpc_retry_buffer_size", 2 * MAX_REQUEST_BYTES),
        ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
        # A connection that died silently (a vanished host, a forgetful NAT) is noticed after 40 s. Pings go on without
        # calls, so that load balancers and NATs, which drop what was silent for 60 s or more, keep an idle one; recwire
        # takes a ping every 10 s.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),  # no end; gRPC's own is after two
        # A server that comes back is found by the retries, or 5 s later; gRPC's own 1 s to 2 min leave it
        # standing idle.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ]
