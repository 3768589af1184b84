"""How a client reaches the server: the stubs, the options of the channel, and which calls are retried."""

import json

import grpc

from recwire.v1 import admin_service_pb2, catalog_service_pb2, recommender_service_pb2, user_service_pb2
from recwire.v1.admin_service_pb2_grpc import AdminServiceStub
from recwire.v1.catalog_service_pb2_grpc import CatalogServiceStub
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire.v1.user_service_pb2_grpc import UserServiceStub

DEFAULT_ADDRESS = "127.0.0.1:50051"

RETRY_POLICY = {
    # 1.5 s of waiting in all, before jitter: enough for a server that drains while another takes over,
    # short enough for the default deadline. Further failure is the caller's to know. gRPC allows no more
    # than 5 attempts.
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    # Only this says "try elsewhere or again". RESOURCE_EXHAUSTED says how long to wait, which this policy
    # cannot heed, and a retry would add to the load that it complains about.
    "retryableStatusCodes": ["UNAVAILABLE"],
}

MAX_REQUEST_BYTES = 4 * 1024 * 1024  # what the server takes
MAX_RESPONSE_BYTES = 64 * 1024 * 1024  # 1,000 recommendations, each explained by 1,000 events


class Stubs:
    """The generated stubs of all services, over a channel of either kind."""

    def __init__(self, channel: grpc.Channel | grpc.aio.Channel) -> None:
        self.recommender = RecommenderServiceStub(channel)
        self.catalog = CatalogServiceStub(channel)
        self.user = UserServiceStub(channel)
        self.admin = AdminServiceStub(channel)


def options() -> list[tuple[str, int | str]]:
    """Return the options of the channel."""
    return [
        ("grpc.service_config", service_config()),
        # gRPC does not retry a request beyond this size; its own 256 KiB leaves out most bulk writes.
        ("grpc.per_rpc_retry_buffer_size", 2 * MAX_REQUEST_BYTES),
        ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
        # A connection that died silently (a vanished host, a forgetful NAT) is noticed after 40 s, and only
        # while a call waits on it: servers count pings without calls as abuse.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # A server that comes back is found by the retries, or 5 s later; gRPC's own 1 s to 2 min leave it
        # standing idle.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ]


def service_config() -> str:
    """Return gRPC's service config: retry what the contract calls idempotent.

    Streams from the client are left out: what was read from the caller's iterable cannot be read again.
    """
    services = [
        service
        for module in (recommender_service_pb2, catalog_service_pb2, user_service_pb2, admin_service_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    ]
    retried = [
        {"service": service.full_name, "method": method.name}
        for service in services
        for method in service.methods
        if method.GetOptions().idempotency_level and not method.client_streaming
    ]
    return json.dumps({"methodConfig": [{"name": retried, "retryPolicy": RETRY_POLICY}]})
