"""The standard services on the port: whether the server takes calls, and what calls there are."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from server_process import serving

from recwire import UnavailableError
from recwire.errors import from_rpc_error
from recwire.v1 import catalog_service_pb2, recommender_service_pb2, user_service_pb2
from recwire.v1.admin_service_pb2 import GetServerInfoRequest
from recwire.v1.admin_service_pb2_grpc import (
    AdminServiceServicer,
    AdminServiceStub,
    add_AdminServiceServicer_to_server,
)
from recwire.v1.catalog_service_pb2_grpc import (
    CatalogServiceServicer,
    CatalogServiceStub,
    add_CatalogServiceServicer_to_server,
)
from recwire.v1.recommender_service_pb2_grpc import (
    RecommenderServiceServicer,
    RecommenderServiceStub,
    add_RecommenderServiceServicer_to_server,
)
from recwire.v1.user_service_pb2_grpc import UserServiceServicer, UserServiceStub, add_UserServiceServicer_to_server
from recwire_server.access.authorization import Authorization
from recwire_server.lifecycle import Lifecycle
from recwire_server.service.boundary import Boundary, CallLimits
from recwire_server.service.status import ErrorTeller
from recwire_server.telemetry.call import Calls
from recwire_server.telemetry.metric import Metrics
from recwire_server.transport import ConnectionRules, Transport

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
RECWIRE_SERVICES = [f"recwire.v1.{name}Service" for name in ("Recommender", "Catalog", "User", "Admin")]
REFLECTION_SERVICES = [f"grpc.reflection.{version}.ServerReflection" for version in ("v1", "v1alpha")]
STANDARD_SERVICES = ["grpc.health.v1.Health", *REFLECTION_SERVICES]


class SlowUserService(UserServiceServicer):
    """Answers GetUser once it may."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()

    async def GetUser(
        self, request: user_service_pb2.GetUserRequest, context: object
    ) -> user_service_pb2.GetUserResponse:
        self.begun.set()
        await self.may_end.wait()
        return user_service_pb2.GetUserResponse(user_id=request.user_id)


@dataclass
class Port:
    """A started transport, its users' service, and a channel to it. The other services answer UNIMPLEMENTED."""

    users: SlowUserService = field(default_factory=SlowUserService)

    async def start(self) -> None:
        self.transport = Transport(
            "127.0.0.1:0",
            Lifecycle(),
            CallLimits(10, 10, 5.0),
            ConnectionRules(30.0, 0.0),
            Authorization(None),
            Calls(Metrics()),
            ErrorTeller(),
            self._register,
        )
        self.channel = grpc.aio.insecure_channel(await self.transport.start())

    def watch(self, service: str = "") -> grpc.aio.UnaryStreamCall:
        return HealthStub(self.channel).Watch(health_pb2.HealthCheckRequest(service=service))

    async def check(self, service: str) -> int:
        return (await HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(service=service))).status

    def _register(self, boundary: Boundary) -> None:
        add_RecommenderServiceServicer_to_server(RecommenderServiceServicer(), boundary)
        add_CatalogServiceServicer_to_server(CatalogServiceServicer(), boundary)
        add_UserServiceServicer_to_server(self.users, boundary)
        add_AdminServiceServicer_to_server(AdminServiceServicer(), boundary)


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    """A port that takes connections and not yet calls."""
    port = Port()
    await port.start()
    yield port
    await port.channel.close()
    await port.transport.stop(0)


async def stream(message: object) -> AsyncIterator[object]:
    yield message


def calls(channel: grpc.aio.Channel) -> list[grpc.aio.Call]:
    """One call to each service, and one of each kind of stream."""
    return [
        RecommenderServiceStub(channel).Embed(recommender_service_pb2.EmbedRequest(texts=["a"])),
        CatalogServiceStub(channel).ListItems(catalog_service_pb2.ListItemsRequest()),
        UserServiceStub(channel).GetUser(user_service_pb2.GetUserRequest(user_id="ada")),
        AdminServiceStub(channel).GetServerInfo(GetServerInfoRequest()),
        CatalogServiceStub(channel).ImportItems(stream(catalog_service_pb2.ImportItemsRequest())),
        UserServiceStub(channel).ExportUser(user_service_pb2.ExportUserRequest(user_id="ada")),
    ]


async def error_of(call: grpc.aio.Call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await (call if isinstance(call, grpc.aio.UnaryUnaryCall) else call.read())
    return raised.value


def test_health_is_serving_once_the_line_is_there(int8_model, tmp_path):
    """When `serve` has said where it serves, the server and each of its services are SERVING."""
    with serving(int8_model, tmp_path) as server, grpc.insecure_channel(server.address) as channel:
        health = HealthStub(channel)
        for service in ["", *RECWIRE_SERVICES]:
            assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == SERVING


@pytest.mark.parametrize("service", ["", *RECWIRE_SERVICES])
async def test_health_is_not_serving_before_all_is_ready(port, service):
    """A server whose parts are still starting is NOT_SERVING, and SERVING from then on."""
    assert await port.check(service) == NOT_SERVING
    port.transport.serve()
    assert await port.check(service) == SERVING


async def test_health_of_an_unknown_service_is_not_found(port):
    """A service that is not served has no health."""
    assert (await error_of(HealthStub(port.channel).Check(health_pb2.HealthCheckRequest(service="no")))).code() is (
        grpc.StatusCode.NOT_FOUND
    )


async def test_calls_are_refused_before_all_is_ready(port):
    """A server that is starting answers UNAVAILABLE and says when to try again."""
    for call in calls(port.channel):
        error = from_rpc_error(await error_of(call))
        assert isinstance(error, UnavailableError)
        assert error.reason == "STARTING"
        assert error.retry_after_s > 0
    assert not port.users.begun.is_set()


async def test_calls_are_taken_once_all_is_ready(port):
    """The same calls reach the services afterwards."""
    port.transport.serve()
    port.users.may_end.set()
    unimplemented = [call for call in calls(port.channel) if call is not None]
    answered = unimplemented.pop(2)
    assert (await answered).user_id == "ada"
    for call in unimplemented:
        assert (await error_of(call)).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_watch_follows_the_servers_life(port):
    """A watcher hears that the server is not ready, that it is, and that it is about to stop."""
    watch = port.watch()
    assert (await watch.read()).status == NOT_SERVING
    port.transport.serve()
    assert (await watch.read()).status == SERVING
    stopping = asyncio.create_task(port.transport.stop(30))
    assert (await watch.read()).status == NOT_SERVING
    assert await watch.read() is grpc.aio.EOF
    await asyncio.wait_for(stopping, 10)


async def test_a_watcher_that_leaves_takes_nobody_along(port):
    """Whoever still watches, or comes later, hears of every change."""
    leaving, staying = port.watch(), port.watch()
    for watch in (leaving, staying):
        assert (await watch.read()).status == NOT_SERVING
    leaving.cancel()
    coming = port.watch()
    assert (await coming.read()).status == NOT_SERVING
    port.transport.serve()
    for watch in (staying, coming):
        assert (await watch.read()).status == SERVING


async def test_watch_of_an_unknown_service_waits_for_it(port):
    """As the protocol has it: the service may come with another version."""
    watch = port.watch("no")
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    port.transport.serve()
    stopping = asyncio.create_task(port.transport.stop(30))
    assert await watch.read() is grpc.aio.EOF
    await asyncio.wait_for(stopping, 10)


def test_a_stop_waits_for_no_idle_client(int8_model, tmp_path):
    """Neither a client that is connected nor one that watches delays the end."""
    with serving(int8_model, tmp_path) as server, grpc.insecure_channel(server.address) as channel:
        server.client.embed(["a text"])
        watch = HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        begin_s = time.monotonic()
        assert server.terminate() == 0
        assert time.monotonic() - begin_s < 3
        assert [answer.status for answer in watch] == [NOT_SERVING]


async def test_a_stop_lets_calls_under_way_end(port):
    """From the moment that a stop begins new calls are refused; one under way is answered, and then the stop ends."""
    port.transport.serve()
    watch = port.watch()
    assert (await watch.read()).status == SERVING
    under_way = UserServiceStub(port.channel).GetUser(user_service_pb2.GetUserRequest(user_id="ada"))
    await port.users.begun.wait()
    stopping = asyncio.create_task(port.transport.stop(30))
    assert (await watch.read()).status == NOT_SERVING
    for call in calls(port.channel):
        assert (await error_of(call)).code() is grpc.StatusCode.UNAVAILABLE
    assert not under_way.done()
    port.users.may_end.set()
    assert (await under_way).user_id == "ada"
    await asyncio.wait_for(stopping, 10)


async def test_a_call_that_outlasts_the_grace_is_cut_off(port):
    """A stop waits no longer than it may."""
    port.transport.serve()
    under_way = UserServiceStub(port.channel).GetUser(user_service_pb2.GetUserRequest(user_id="ada"))
    await port.users.begun.wait()
    await asyncio.wait_for(port.transport.stop(0.1), 10)
    assert (await error_of(under_way)).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def ask(address: str, service: str, *requests: ServerReflectionRequest) -> list[ServerReflectionResponse]:
    """Return the answers of a reflection service; the messages of v1 and v1alpha are the same."""
    with grpc.insecure_channel(address) as channel:
        method = channel.stream_stream(
            f"/{service}/ServerReflectionInfo",
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )
        return list(method(iter(requests), timeout=10))


@pytest.mark.parametrize("reflection", REFLECTION_SERVICES)
def test_reflection_lists_the_services(hash_server, reflection):
    """All services are listed, the standard ones too."""
    (answer,) = ask(hash_server.address, reflection, ServerReflectionRequest(list_services=""))
    listed = [service.name for service in answer.list_services_response.service]
    assert sorted(listed) == sorted([*RECWIRE_SERVICES, *STANDARD_SERVICES])


@pytest.mark.parametrize("reflection", REFLECTION_SERVICES)
@pytest.mark.parametrize("service", [*RECWIRE_SERVICES, *STANDARD_SERVICES])
def test_reflection_describes_every_service(hash_server, reflection, service):
    """The files of a listed service, with what they import, describe its rpcs: a tool needs no proto files."""
    pool = descriptor_pool.DescriptorPool()
    answers = ask(hash_server.address, reflection, ServerReflectionRequest(file_containing_symbol=service))
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    while answers:
        for data in answers.pop().file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(data)
            files[file.name] = file
            missing = [name for name in file.dependency if name not in files]
            answers += ask(
                hash_server.address, reflection, *(ServerReflectionRequest(file_by_filename=name) for name in missing)
            )
    while files:  # what a file imports comes before it
        for name in [name for name, file in files.items() if not set(file.dependency) & files.keys()]:
            pool.Add(files.pop(name))
    assert pool.FindServiceByName(service).methods


@pytest.mark.parametrize("reflection", REFLECTION_SERVICES)
def test_reflection_of_an_unknown_symbol_is_not_found(hash_server, reflection):
    """What is not there is said not to be, and the stream goes on."""
    unknown = ServerReflectionRequest(file_containing_symbol="recwire.v1.NoService")
    first, second = ask(hash_server.address, reflection, unknown, ServerReflectionRequest(list_services=""))
    assert first.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert second.list_services_response.service
