"""Pages of a list: how long one is, and where the page before ended. Tokens are opaque to clients."""

import base64
import binascii
from typing import TypeVar

from google.protobuf.message import Message

from recwire_server.service.field import FieldCheck

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1_000
# A page ends before it passes what a client takes in one message (4 MiB), even if the next entry is as large as one can
# be sent.
MAX_PAGE_BYTES = 3 * 1024 * 1024

M = TypeVar("M", bound=Message)


def page_size_from(page_size: int, check: FieldCheck) -> int:
    """Return how many entries a page has at most; a violation goes to check."""
    if page_size < 0:
        check.add("page_size", f"is {page_size}; give 1-{MAX_PAGE_SIZE:,}, or 0 for {DEFAULT_PAGE_SIZE}")
    return min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def that_fit(messages: list[M]) -> list[M]:
    """Return the first messages, as many as fit into a page; at least one."""
    size = 0
    for i, message in enumerate(messages):
        size += message.ByteSize()
        if size > MAX_PAGE_BYTES and i > 0:
            return messages[:i]
    return messages


def page_token_message(last_id: str) -> str:
    """Return the token that continues after this id."""
    return base64.urlsafe_b64encode(last_id.encode()).decode()


def page_token_from(token: str, check: FieldCheck) -> str:
    """Return the id that a token continues after, "" for the first page; a violation goes to check."""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        check.add("page_token", "is not a token of this server; send next_page_token as it came, or nothing")
        return ""
