"""The encoder that ships for tests."""

import subprocess
import sys

import numpy as np
import pytest

from recwire_server.encoder import InvalidTextError, LongText, Purpose, TextTooLongError
from recwire_server.encoder.embedding import encode
from recwire_server.testing import HashEncoder


def vector_of(text: str) -> np.ndarray:
    return encode(HashEncoder(), [text], Purpose.QUERY)[0].vector


def test_texts_that_share_words_are_near():
    """Shared words make vectors alike, other words do not, and case makes no difference."""
    assert vector_of("red running shoes") @ vector_of("Red shoes") > 0.6
    assert abs(vector_of("red shoes") @ vector_of("fresh bread")) < 0.5
    np.testing.assert_array_equal(vector_of("RED"), vector_of("red"))


def test_vectors_are_the_same_in_every_process():
    """Python's own hash differs between processes; these vectors do not."""
    script = (
        "from recwire_server.encoder import Purpose\n"
        "from recwire_server.encoder.embedding import encode\n"
        "from recwire_server.testing import HashEncoder\n"
        "print(encode(HashEncoder(), ['red shoes'], Purpose.QUERY)[0].vector.tobytes().hex())\n"
    )

    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == vector_of("red shoes").tobytes().hex()


def test_long_texts_behave_as_with_a_model():
    """A word is a token, two are special; long texts are averaged, cut or rejected."""
    encoder, text = HashEncoder(dim=8, max_tokens=5), "one two three four"

    mean = encode(encoder, [text], Purpose.QUERY)[0]
    cut = encode(encoder, [text], Purpose.QUERY, LongText.TRUNCATE)[0]

    assert (mean.token_count, mean.truncated) == (6, False)
    assert (cut.token_count, cut.truncated) == (6, True)
    np.testing.assert_array_equal(cut.vector, encode(encoder, ["one two three"], Purpose.QUERY)[0].vector)
    assert mean.vector.shape == (8,)
    assert mean.vector.dtype == np.float32
    with pytest.raises(TextTooLongError, match="text 0 has 6 tokens; the limit is 5"):
        encode(encoder, [text], Purpose.QUERY, LongText.REJECT)


def test_empty_and_invalid_texts():
    """An empty text has a unit vector too; a lone surrogate is refused."""
    assert np.linalg.norm(vector_of("")) == pytest.approx(1, abs=1e-6)
    with pytest.raises(InvalidTextError):
        vector_of("\ud800")
