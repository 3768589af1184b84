"""Connections: idle ones live on, sane pings are no abuse, and old ones are made anew without a call lost."""

import asyncio
import time

import grpc
import pytest
from conftest import StartServer
from impatient_proxy import impatient_proxy

from recwire import AsyncClient
from recwire.v1.recommender_service_pb2 import EmbedRequest
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub

TEXT = EmbedRequest(texts=["a text"])


async def embed(channel: grpc.aio.Channel) -> None:
    """Make a call, which is not tried again."""
    assert (await RecommenderServiceStub(channel).Embed(TEXT, timeout=10)).dimension


async def test_a_load_balancer_drops_a_connection_that_nobody_pings(start_server: StartServer):
    """What the proxy of these tests does to a connection where neither side pings in time."""
    address = start_server(keepalive_interval_s=60).address
    async with impatient_proxy(address, 0.5) as proxy, grpc.aio.insecure_channel(proxy.address) as channel:
        await embed(channel)
        await asyncio.sleep(1.5)
        await embed(channel)
        assert proxy.connection_count == 2


@pytest.mark.parametrize(
    ("keepalive_interval_s", "patience_s", "idle_s"),
    [(0.5, 2, 6), pytest.param(30, 60, 600, marks=[pytest.mark.long, pytest.mark.timeout(700)])],
)
async def test_an_idle_connection_outlives_a_load_balancers_patience(
    keepalive_interval_s: float, patience_s: float, idle_s: float, start_server: StartServer
):
    """The server's pings keep it, whatever the client does; the long variant has the defaults and ten minutes."""
    address = start_server(keepalive_interval_s=keepalive_interval_s).address
    async with impatient_proxy(address, patience_s) as proxy, grpc.aio.insecure_channel(proxy.address) as channel:
        await embed(channel)
        await asyncio.sleep(idle_s)
        await embed(channel)
        assert proxy.connection_count == 1


async def test_sane_pings_are_no_abuse(start_server: StartServer):
    """A client that pings every 6 s without calls keeps its connection (gRPC's defaults would end it, with
    ENHANCE_YOUR_CALM, at the third ping)."""
    options = [
        ("grpc.keepalive_time_ms", 6_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    address = start_server(keepalive_interval_s=60).address
    async with impatient_proxy(address, 60) as proxy, grpc.aio.insecure_channel(proxy.address, options) as channel:
        await embed(channel)
        await asyncio.sleep(27)
        await embed(channel)
        assert proxy.connection_count == 1


async def test_an_old_connection_is_made_anew_without_a_call_lost(start_server: StartServer):
    """The client is asked to go and come back: it does, and every call is answered."""
    address = start_server(max_connection_age_s=0.5).address
    async with impatient_proxy(address, 60) as proxy, AsyncClient(proxy.address) as client:
        end_s = time.monotonic() + 3
        while time.monotonic() < end_s:
            await client.embed(["a text"])
        assert proxy.connection_count > 2
