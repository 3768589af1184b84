"""What is left of a text before it is embedded."""

import gzip
import html
import json
import re
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recwire_server.text import HASH_BYTES, clean, content_hash

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
LIMIT_BYTES = 32_768  # what the server takes as one text

MARKUP = {
    "inline tags join": ("<b>un</b>believ<I>able</I>", "unbelievable"),
    "block tags part": ("<p>one</p><p>two</p>three<br/>four<LI class='x'>five", "one two three four five"),
    "attributes": ("""<a href="/a?b=1" title='c > d'>lamp</a>""", "lamp"),
    "a quote that nothing closes": ('<a href="/a>lamp</a>', "lamp"),
    "a tag over lines": ("<img\n  src=x\n  alt=y\n>lamp", "lamp"),
    "scripts and styles": ("a<style>p { top: 0 }</style>b<SCRIPT type=x>if (a<b) c('</p>')</script >c", "a b c"),
    "a script that nothing closes": ("the <script> of life", "the of life"),
    "comments": ("a<!-- <p>b --> <!---->c", "a c"),
    "declarations": ("<!DOCTYPE html><?xml version='1.0'?>a", "a"),
    "Word's own tag": ("a<o:p></o:p>b", "a b"),
    "references": ("caf&eacute; &amp; bar &#8364;5 &#x20AC;6 &nbsp; &quot;x&quot;", 'café & bar €5 €6 "x"'),
    "markup escaped once too often": ("&lt;p&gt;one&lt;/p&gt;two &amp;amp; three", "one two & three"),
    "tags made of tags": ("<<b>b>x<scr<i>ipt>y", "x y"),
    "nested beyond reason": ("&" + "amp;" * 9 + "lt;", "amp;amp;amp;lt;"),
}

NOT_MARKUP = [
    "a < b",
    "I <3 you",
    "x<y>z",
    "1 < 2 > 0",
    "a<5 && b>6",
    "(>ω<) <(^_^)> <- ->",
    "uses <2W when idle",
    "ask <info@example.com> or <https://example.com/a>",
    "a list<int> of <your name>",
    "cut off at <b",
    'cut off at <a href="/x',
    "<!-- cut off",
    "</>",
    "AT&T, R&D, Q&A; black & white",
    "https://example.com/?a=1&copy=2&region=3",
    "&nosuchthing; &; &#; &#x;",
]

CHARACTERS = {
    "whitespace folds": ("\t a \r\n\u3000\xa0 b\x85\u2028", "a b"),
    "control characters go": ("a\x00b\x1b[31m\x7f\x9f", "ab[31m"),
    "what only splits words goes": ("\ufeffun\u200bbeliev\u00adable\u2060", "unbelievable"),
    "a reference to such a one": ("un&shy;believ&#8203;able&#7;", "unbelievable"),
    "compatibility forms": ("ｆｕｌｌ　１２３ ﬁne ｶﾞ ㎡ ᵃˢ", "full 123 fine ガ m2 as"),
    "composition": ("cafe\u0301", "café"),
    "fractions stay apart": ("1½ inch, ¾-ply", "1 1\u20442 inch, 3\u20444 -ply"),
    "signs stay apart": ("Lamp™, ①cut②fold", "Lamp TM , 1 cut 2 fold"),
    "full-width brackets are no tags": ("＜b＞ a＜b＞c", "< b> a < b>c"),
    "nothing": (" \u200b<br>&nbsp;\x00", ""),
}

KEPT = {
    "joined emoji": "👨‍👩‍👧‍👦 🏳️‍🌈 ❤️ 👍🏽 🇨🇳",
    "joiners of Indic and Persian": "क्‍ष می‌خواهم",
    "right to left": "סיפורים קצרים \u200fاسم\u200f",
    "Chinese": "一条 围巾。",
    "a lone surrogate": "half \ud83d of it",
}

# Each alone or after an opening, repeated up to the limit, would make a careless expression read it again and again.
OPENINGS = ["", "<b ", '<a href="', "<a x=", "<!--", "<script>", "&", "\u00bda"]
REPEATED = [
    *("<", "&", "x", ">", "=", "-", " ", "= ", '="', "='", "\"'", "<b ", "</b ", "<b>", "<p>", "<y>", "<!--", "<!-"),
    *("<script>", "<script><", "</script>", "<style>a", '<a href="', "<a a='b\" ", "<a b=c ", "<!doctype ", "<?xml "),
    *("amp;", "&amp;", "&amp;lt;", "&#60;", "&lt;b&gt;", "&#", "&a", "，，", "ﷺ", "½", "™", "＜", "\x00", "\u200b"),
    *("\u0301", "\u0301\u0316", "\u0301\uff9e", "\u0f73\u0301", "\u0301\u0316" * 15 + "a", "，" * 30 + "的"),
]
WORST = [
    *(opening + piece * (LIMIT_BYTES // len(piece.encode())) for opening in OPENINGS for piece in REPEATED),
    "<b" * 10_900 + ">" * 10_900,
    "<" * 10_900 + "b>" * 10_900,
    "a" + "\u0301" * 8_000 + "\u0316" * 8_000,
]

# What tags, references and compositions are made of, and what NFKC makes them of.
parts = st.sampled_from(
    [
        *("<", ">", "&", ";", "/", "!", "-", "--", "=", '"', "'", "#", "x", "amp", "lt", "gt", "shy", "b", "p", " "),
        *("<b>", "</b>", "<br", "script", "<script>", "</script>", "<!--", "-->", "&lt;", "&gt;", "&amp;", "&nbsp;"),
        *("&#60;", "&#x338;", "&#769;", "＜", "＞", "＆", "；", "\u037e", "﹤", "﹠", "½", "™", "①", "ﷺ", "ﾞ", "\u0344"),
        *("\n", "\xa0", "\u0338", "\u0301", "\u0316", "\u1100", "\u1161", "\u200b", "\u200d", "\xad", "\x00", "\x1f"),
        *("\ud83d", "\u0301\u0316" * 20, "\u0344" * 31),
    ]
)
texts = st.one_of(
    st.text(),
    st.text(st.characters(exclude_categories=[])),
    st.lists(parts, max_size=30).map("".join),
    st.lists(parts | st.text(max_size=3), max_size=20).map("".join),
)


@pytest.mark.parametrize(("text", "cleaned"), MARKUP.values(), ids=MARKUP.keys())
def test_markup_goes(text, cleaned):
    """What a browser shows of a text is left."""
    assert clean(text) == cleaned


@pytest.mark.parametrize("text", NOT_MARKUP)
def test_what_looks_like_markup_stays(text):
    """An angle bracket or an ampersand that people write keeps its words."""
    assert clean(text) == text


@pytest.mark.parametrize(("text", "cleaned"), CHARACTERS.values(), ids=CHARACTERS.keys())
def test_characters_take_their_plain_form(text, cleaned):
    """NFKC, single spaces, nothing invisible, and no word glued to another."""
    assert clean(text) == cleaned


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT.keys())
def test_characters_that_mean_something_stay(text):
    """Joiners and variation selectors make the emoji or the letter; a surrogate is another layer's to refuse."""
    assert clean(text) == text


def test_marks_on_one_letter_are_limited():
    """Thirty are left of a heap that normalization would sort for seconds."""
    assert clean("a" + "\u0316\u0334" * 100 + "b") == "a" + "\u0334" * 15 + "\u0316" * 15 + "b"


@settings(max_examples=2_000)
@given(texts)
def test_cleaned_text_stays_as_it_is(text):
    """Cleaning twice gives what cleaning once gives."""
    cleaned = clean(text)

    assert clean(cleaned) == cleaned


@given(texts)
def test_cleaned_text_is_plain(text):
    """In NFKC, with single spaces between words, without control characters and without a known tag."""
    cleaned = clean(text)

    assert unicodedata.is_normalized("NFKC", cleaned)
    assert cleaned == " ".join(cleaned.split())
    assert not any(unicodedata.category(character) == "Cc" for character in cleaned)
    assert not set(cleaned) & set("\u200b\ufeff\u00ad\u2060")
    assert not re.search(r"</?(b|p|br|script)(\s[^<>]*)?/?>", cleaned, re.ASCII | re.IGNORECASE)


@given(texts)
def test_cleaned_text_is_not_much_longer(text):
    """At most 18 characters and two spaces stand for one."""
    assert len(clean(text)) <= 20 * len(text)


@given(st.text(st.sampled_from("ab c<>&;é的")))
def test_escaped_text_reads_the_same(text):
    """A text and its HTML are the same to the model."""
    assert clean(html.escape(text)) == clean(text)


@given(st.lists(st.sampled_from(["lamp", "的", "é", "3", "<", ">", "&", "<3", "a<c", "<int>", "R&D"])))
def test_no_word_is_lost(words):
    """Brackets between words are not taken for tags."""
    assert clean(" ".join(words)) == " ".join(words)


def test_longest_texts_take_milliseconds():
    """Whatever fills 32 KiB. Linear time needs up to 40 ms a text; a quadratic one would need seconds."""
    slow = {}
    for text in WORST:
        started = time.thread_time()
        clean(text)
        seconds = time.thread_time() - started
        if seconds > 0.3:
            slow[text[:20]] = seconds

    assert slow == {}


def test_content_hash_is_of_the_cleaned_pieces():
    """Markup makes no difference; words, case, order and where a piece ends do."""
    digest = content_hash(["A lamp", "black"])

    assert len(digest) == HASH_BYTES
    assert content_hash(["<p>A  lamp</p>", "black\u200b"]) == digest
    others = [["a lamp", "black"], ["black", "A lamp"], ["A lamp black"], ["A lampblack", ""], ["A lamp", "black", ""]]
    assert digest not in map(content_hash, others)
    assert len({content_hash(pieces) for pieces in ([], [""], ["", ""])}) == 3


def test_content_hash_is_stable():
    """Stored hashes stay comparable from one release to the next."""
    assert content_hash(["A lamp", "black"]).hex() == "56593c7c7a6112cd"


def test_content_hash_takes_a_lone_surrogate():
    """It is refused elsewhere, with a better message."""
    assert content_hash(["half \ud83d"]) != content_hash(["half"])


@pytest.fixture(params=["kuairec-captions", "amazon18-office"])
def real_texts(request) -> list[str]:
    """The texts of a catalogue that lies beside the project where it is developed."""
    file = SHARED_DATA / request.param / "items.jsonl.gz"
    if not file.is_file():
        pytest.skip("no shared data beside the project")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def test_real_texts_lose_no_letter(real_texts):
    """Captions and descriptions, which hold no tag, keep every letter and digit; only their form changes."""
    for text in real_texts:
        assert letters(clean(text)) == letters(unicodedata.normalize("NFKC", text))


def test_real_texts_are_clean_for_good(real_texts):
    """Cleaning them again changes nothing, and no tag is left."""
    for text in real_texts:
        cleaned = clean(text)

        assert clean(cleaned) == cleaned
        assert not re.search(r"</?[a-z][^<>]*>", cleaned, re.IGNORECASE)


def test_real_texts_in_html_lose_no_letter(real_texts):
    """Wrapped and escaped as a shop's feed has them, they come out as the plain ones do."""
    for text in real_texts:
        assert clean(f"<div><p class='x'>{html.escape(text)}</p><br></div>") == clean(text)


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))
