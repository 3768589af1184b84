"""Page tokens: where the page before ended. Opaque to clients."""

import base64
import binascii

from recwire_server.service.field import FieldCheck


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
