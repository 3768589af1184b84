"""Which calls are retried, and when retries end: gRPC's service config, which clients in every language take.

`make proto` writes it to `client/service_config.json`.
"""

import json

from recwire.v1 import admin_service_pb2, catalog_service_pb2, recommender_service_pb2, user_service_pb2

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

# Keeps retries from holding down a server that is down. Of all calls of a process to a server, an attempt that fails
# takes a token, an answer gives a part of one back, and while half of the tokens are gone nothing is retried.
RETRY_THROTTLING = {
    # 50 failures: as many as calls that are under way when a server is restarted, and not many times as many. Without a
    # server, calls make that many attempts more than there are calls, once, and from then on one each.
    "maxTokens": 100,
    # Of a server that answers some calls, in the long run at most a tenth of the answers is retried.
    "tokenRatio": 0.1,
}


def service_config() -> str:
    """Return the service config as JSON: retry what the contract calls idempotent.

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
    config = {
        "methodConfig": [{"name": retried, "retryPolicy": RETRY_POLICY}],
        "retryThrottling": RETRY_THROTTLING,
    }
    return json.dumps(config, indent=2)
