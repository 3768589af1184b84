"""What a text of an item or of an event says, without the markup and the invisible characters that it came with."""

import re
import unicodedata
from collections.abc import Sequence
from hashlib import blake2b
from html import unescape
from html.entities import html5

MARKUP_ROUNDS = 6
"""Feeds escape markup twice, seldom three times; deeper nesting is nobody's text and would cost a round a level."""

MAX_MARKS = 30
"""Combining marks in a row before normalization, the limit of Unicode's stream-safe format (UAX #15): Python sorts a
row in quadratic time, 0.4 s for 32 KiB. Marks beyond it go."""

HASH_BYTES = 8
"""Two different texts among a million items share a hash once in 37 million catalogues."""


def clean(text: str) -> str:
    """Return what a reader of text sees, in NFKC and with single spaces; empty if that is nothing.

    Tags of HTML elements go, those of blocks leave a space; so do comments and what <script> and <style> hold.
    Character references that end in ";" are decoded, and tags that appear by that are tags too: catalogues hold
    "&lt;b&gt;" where "<b>" was escaped once too often. Anything else in angle brackets is text: "a < b", "<3",
    "x<y>z", "<info@example.com>", the full-width "＜b＞", and a tag that the end of the text cuts off.

    A cleaned text stays as it is: clean(clean(text)) == clean(text). Lone surrogates pass through. The time is linear
    in the length; NFKC can make 18 characters of one, so a limit on the length belongs before this.
    """
    text = _normalize(text)
    for _ in range(MARKUP_ROUNDS):
        if "<" not in text and "&" not in text:
            return text
        plain = _REFERENCE.sub(_decode, _MARKUP.sub(_strip, text))
        if plain == text:
            return text
        text = _normalize(plain)
    return _normalize(text.replace("<", " ").replace("&", " "))


def content_hash(pieces: Sequence[str]) -> bytes:
    """Return HASH_BYTES bytes that are the same for pieces which are the same in number, order and cleaned text.

    Case counts. The hash is stable across processes and releases of Python with the same Unicode tables.
    """
    digest = blake2b(digest_size=HASH_BYTES)
    for piece in pieces:
        digest.update(clean(piece).encode("utf-8", "surrogatepass"))
        digest.update(b"\0")  # no cleaned piece contains it
    return digest.digest()


def _normalize(text: str) -> str:
    # str.isprintable() takes 2 ns a character and is false for what _INVISIBLE names and any whitespace but " ".
    if not text.isprintable():
        text = " ".join(_INVISIBLE.sub("", text).split())
    if not unicodedata.is_normalized("NFKC", text):
        text = _LONG_RUN.sub(_limit_marks, text)
        text = unicodedata.normalize("NFKC", _SET_APART.sub(r" \g<0> ", text))
    if "  " in text or text != text.strip():
        return " ".join(text.split())
    return text


def _limit_marks(run: re.Match[str]) -> str:
    kept = []
    mark_count = 0
    for character in run[0]:
        is_mark = unicodedata.category(character)[0] == "M" or character in _KATAKANA_MARKS
        mark_count = mark_count + 1 if is_mark else 0
        if mark_count <= MAX_MARKS:
            kept.append(character)
    return "".join(kept)


def _strip(markup: re.Match[str]) -> str:
    if markup["name"] is None:
        return " "
    name = markup["name"].lower()
    if name in _INLINE:
        return ""
    return " " if name in _BLOCK else markup[0]


def _decode(reference: re.Match[str]) -> str:
    if reference["name"] is None:
        return unescape(reference[0])
    return html5.get(reference["name"], reference[0])


_INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # Cc but for whitespace
    r"\u00ad\u200b\u2060\ufeff]"  # soft hyphen, zero-width space, word joiner, byte order mark
)

_KATAKANA_MARKS = "\uff9e\uff9f"  # letters that NFKC turns into marks

# Marks are no word characters; other symbols are in the class as well, since re knows no categories.
_LONG_RUN = re.compile(rf"(?:[^\w\s\x00-\x7f]|[{_KATAKANA_MARKS}]){{{MAX_MARKS + 1},}}+")

# NFKC would glue them to their neighbours: "1½" would read 11⁄2, "Lamp™" LampTM, "②③" 23, and "＜b＞" <b>.
_SET_APART = re.compile(r"[\u00bc-\u00be\u2120\u2122\u2150-\u215f\u2189\u2460-\u249b\u24ea\ufe64\uff1c]")

# Only with the semicolon: without it, "&copy=1&region=2" in an address would turn into "©=1®ion=2".
_REFERENCE = re.compile(r"&(?:#[0-9]{1,7};|#x[0-9a-f]{1,6};|(?P<name>[a-z][a-z0-9]{1,31};))", re.ASCII | re.IGNORECASE)

# Not html.parser: it takes 9 s for 32 KiB of "<b " (Python 3.11; quadratic), drops the y of "x<y>z", and decodes
# references without a semicolon. Here no branch passes a "<" that could start another match and no quantifier gives
# back what it took, so that each character is read a bounded number of times.
_MARKUP = re.compile(
    r"""
    <(?P<raw>script|style)(?=[\s/>])[^<>]*+> (?:[^<]++|<(?!/?(?:script|style)[\s/>]))*+ </(?P=raw)\s*+>
    | <!--(?:[^<-]++|<(?!!--)|-(?!->))*+-->
    | <(?:!doctype|\?xml)\b[^<>]*+>
    | </?(?P<name>[a-z][a-z0-9:]*+)(?=[\s/>])(?:
          (?:=\s*+"[^"<]*+" | =\s*+'[^'<]*+' | [^<>])*+>
        | [^<>]*+>  # a quote that nothing closes
      )
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)

_INLINE_NAMES = """
    a abbr acronym b bdi bdo big cite code del dfn em font i ins kbd mark nobr q s samp small span strike strong sub sup
    tt u var wbr
"""
_INLINE = frozenset(_INLINE_NAMES.split())

_BLOCK_NAMES = """
    address applet area article aside audio base basefont blockquote body br button canvas caption center col colgroup
    data datalist dd details dialog dir div dl dt embed fieldset figcaption figure footer form frame frameset h1 h2 h3
    h4 h5 h6 head header hgroup hr html iframe img input label legend li link main map marquee menu meta meter nav
    noframes noscript o:p object ol optgroup option output p param picture pre progress rp rt ruby script search section
    select slot source style summary svg table tbody td template textarea tfoot th thead time title tr track ul video
"""
_BLOCK = frozenset(_BLOCK_NAMES.split())
