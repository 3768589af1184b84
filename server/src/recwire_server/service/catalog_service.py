"""The rpcs of CatalogService."""

from collections.abc import AsyncIterator
from typing import Any

import grpc

from recwire.v1 import catalog_service_pb2 as pb
from recwire.v1.catalog_service_pb2_grpc import CatalogServiceServicer
from recwire_server.catalogue import Catalogue, Upserted
from recwire_server.encoder import Encoder
from recwire_server.errors import InvalidRequestError, NotFoundError, PreconditionError
from recwire_server.item import Item
from recwire_server.service.deadline import deadline_s
from recwire_server.service.field import FieldCheck
from recwire_server.service.item_message import item_from, item_message
from recwire_server.service.page import page_size_from, page_token_from, page_token_message, that_fit

MAX_ITEMS = 256
Context = grpc.aio.ServicerContext[Any, Any]


class CatalogService(CatalogServiceServicer):
    """UpsertItems, ImportItems, DeleteItems, GetItem, ListItems. default_timeout_s: of calls that set no deadline."""

    def __init__(self, catalogue: Catalogue, encoder: Encoder, default_timeout_s: float) -> None:
        self._catalogue = catalogue
        self._encoder = encoder
        self._default_timeout_s = default_timeout_s

    async def UpsertItems(self, request: pb.UpsertItemsRequest, context: Context) -> pb.UpsertItemsResponse:
        check = FieldCheck(self._encoder.dim)
        check.count("items", request.items, 1, MAX_ITEMS)
        items = [item_from(item, f"items[{i}]", check) for i, item in enumerate(request.items)]
        check.finish()
        upserted = await self._catalogue.upsert(items, deadline_s(context, self._default_timeout_s))
        return pb.UpsertItemsResponse(
            upserted_count=len(items),
            catalog_revision=upserted.revision,
            duplicates=_duplicate_messages(upserted),
        )

    async def ImportItems(
        self, requests: AsyncIterator[pb.ImportItemsRequest], context: Context
    ) -> AsyncIterator[pb.ImportItemsResponse]:
        imported_count = 0
        async for request in requests:
            check = FieldCheck(self._encoder.dim)
            check.count("items", request.items, 0, MAX_ITEMS)
            check.finish()
            items, errors = self._sound_items(request)
            upserted = Upserted(self._catalogue.revision, {})
            if items:
                upserted = await self._catalogue.upsert(items, deadline_s(context))
            imported_count += len(items)
            yield pb.ImportItemsResponse(
                imported_count=imported_count,
                errors=errors,
                catalog_revision=upserted.revision,
                duplicates=_duplicate_messages(upserted),
            )

    async def DeleteItems(self, request: pb.DeleteItemsRequest, context: Context) -> pb.DeleteItemsResponse:
        check = FieldCheck(self._encoder.dim)
        check.count("item_ids", request.item_ids, 1, MAX_ITEMS)
        item_ids = [check.id(f"item_ids[{i}]", item_id) for i, item_id in enumerate(request.item_ids)]
        check.finish()
        deleted = await self._catalogue.delete(item_ids)
        return pb.DeleteItemsResponse(deleted_count=deleted.count, catalog_revision=deleted.revision)

    async def GetItem(self, request: pb.GetItemRequest, context: Context) -> pb.GetItemResponse:
        check = FieldCheck(self._encoder.dim)
        item_id = check.id("item_id", request.item_id)
        check.finish()
        found = await self._catalogue.items([item_id])
        if item_id not in found:
            raise NotFoundError("item", item_id, f"item {item_id!r} is not in the catalogue")
        return pb.GetItemResponse(item=item_message(found[item_id]))

    async def ListItems(self, request: pb.ListItemsRequest, context: Context) -> pb.ListItemsResponse:
        check = FieldCheck(self._encoder.dim)
        page_size = page_size_from(request.page_size, check)
        after = page_token_from(request.page_token, check)
        check.finish()
        items = await self._catalogue.list_items(after, page_size + 1)
        messages = that_fit([item_message(item) for item in items[:page_size]])
        token = page_token_message(messages[-1].item_id) if len(messages) < len(items) else ""
        return pb.ListItemsResponse(items=messages, next_page_token=token)

    def _sound_items(self, request: pb.ImportItemsRequest) -> tuple[list[Item], list[pb.ItemError]]:
        """Return the items that keep the bounds, and what is wrong with the others."""
        items, errors = [], []
        for message in request.items:
            check = FieldCheck(self._encoder.dim)
            item = item_from(message, "", check)
            try:
                check.finish()
            except InvalidRequestError as error:
                errors += [
                    pb.ItemError(item_id=message.item_id, field=v.field, message=v.description)
                    for v in error.violations
                ]
            except PreconditionError as error:
                errors.append(pb.ItemError(item_id=message.item_id, field=error.subject, message=str(error)))
            else:
                items.append(item)
        return items, errors


def _duplicate_messages(upserted: Upserted) -> list[pb.DuplicateItem]:
    return [
        pb.DuplicateItem(item_id=item_id, same_text_item_id=other_id)
        for item_id, other_id in upserted.duplicates.items()
    ]
