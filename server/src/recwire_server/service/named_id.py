"""The ids that a request names, and whether its caller may name them."""

from collections.abc import Iterator

from google.protobuf.message import Message

from recwire.v1 import catalog_service_pb2 as catalog
from recwire.v1 import recommender_service_pb2 as recommender
from recwire.v1 import user_service_pb2 as user
from recwire_server.access.key import Key
from recwire_server.errors import ForbiddenError

TENANT_IDS: dict[type[Message], tuple[str, ...]] = {
    recommender.EmbedRequest: (),
    recommender.EmbedStreamRequest: (),
    recommender.UpdateUserRequest: ("user_id",),
    recommender.UpdateUserStreamRequest: ("request.user_id",),
    recommender.RecommendRequest: ("user_id",),
    catalog.UpsertItemsRequest: ("items.item_id",),
    catalog.ImportItemsRequest: ("items.item_id",),
    catalog.DeleteItemsRequest: ("item_ids",),
    catalog.GetItemRequest: (),
    catalog.ListItemsRequest: (),
    user.GetUserRequest: ("user_id",),
    user.ListEventsRequest: ("user_id",),
    user.ForgetEventsRequest: ("user_id",),
    user.DeleteUserRequest: ("user_id",),
    user.ExportUserRequest: ("user_id",),
}
"""Where a request names users, and items that it writes; what only reads the catalogue names none. Requests of
AdminService are not here: its keys have no prefix."""


def check_ids(request: Message, caller: Key | None) -> None:
    """Raise ForbiddenError if a request names an id that does not begin with its caller's prefix.

    An empty id is nobody's: it is left to the rpc, which says that it is missing.
    """
    if caller is None or not caller.id_prefix:
        return
    for path in TENANT_IDS[type(request)]:
        for field, value in _values(request, path):
            if value and not value.startswith(caller.id_prefix):
                # Without the value, which nobody has bounded yet.
                description = f"{field} does not begin with {caller.id_prefix!r}, as all ids must that this key names"
                raise ForbiddenError("ID_OUTSIDE_PREFIX", description, field)


def _values(message: Message, path: str) -> Iterator[tuple[str, str]]:
    """Yield the texts at a path, each with where it stands, such as items[3].item_id."""
    name, _, rest = path.partition(".")
    value = getattr(message, name)
    entries = [(name, value)]
    if message.DESCRIPTOR.fields_by_name[name].is_repeated:
        entries = [(f"{name}[{i}]", entry) for i, entry in enumerate(value)]
    for place, entry in entries:
        if rest:
            yield from ((f"{place}.{field}", text) for field, text in _values(entry, rest))
        else:
            yield place, entry
