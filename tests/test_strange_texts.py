"""Texts that nobody thought of, through the real server with MiniLM."""

import numpy as np
import pytest

from recwire import InvalidArgumentError
from recwire.v1.recommender_service_pb2 import EMBED_PURPOSE_DOCUMENT

ACCEPTED = {
    "32 KiB of one letter": "a" * 32_768,
    "32 KiB of one word": "spice " * 5_461,
    "10,922 Chinese characters": "的" * 10_922,
    "32 KiB of emoji": "😀" * 8_192,
    "right to left": "סיפורים קצרים لهذا الكتاب قصة",
    "right to left with marks": "\u202eabc\u202c \u200fاسم\u200f",
    "a family of joined emoji": "👨‍👩‍👧‍👦🏳️‍🌈🇨🇳👍🏽",
    "combining marks": "Z\u0351\u036b\u0343\u032a\u0302\u0369" * 40,
    "zero-width characters alone": "\u200b\u200d\ufeff",
    "control characters": "a\x00b\x07c\x1b[31m",
    "characters beyond the first plane": "𝒜𝓫𝔠 𐍈 🜚",
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_strange_text_has_an_embedding(text, minilm_server):
    """A finite vector of unit length, the same alone and beside an ordinary text."""
    alone = minilm_server.client.embed([text]).vectors[0]
    together = minilm_server.client.embed(["a lamp", text], purpose=EMBED_PURPOSE_DOCUMENT).vectors[1]

    assert np.isfinite(alone).all()
    assert np.linalg.norm(alone) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(alone, together, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"texts\[1\]: is blank"),
        (" \t\n\u3000", r"texts\[1\]: is blank"),
        ("a" * 32_769, r"texts\[1\]: has 32,769 bytes; the limit is 32,768"),
        ("的" * 10_923, r"texts\[1\]: has 32,769 bytes; the limit is 32,768"),
    ],
)
def test_text_that_says_nothing_or_too_much_is_refused(text, words, minilm_server):
    """With the field and the limit, and nothing of the request is embedded."""
    with pytest.raises(InvalidArgumentError, match=words):
        minilm_server.client.embed(["a lamp", text])


def test_lone_surrogate_does_not_leave_the_client(minilm_server):
    """Protobuf cannot carry it: the client says which text, and the server never sees the call."""
    with pytest.raises(ValueError, match=r"texts\[1\] has a lone surrogate at character 5"):
        minilm_server.client.embed(["a lamp", "half \ud83d"])

    assert len(minilm_server.client.embed(["a lamp"]).vectors) == 1
