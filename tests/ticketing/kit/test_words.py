"""The catalogues hold exactly what the sources say, whole, with every placeholder; and who reads in which language."""

import re
from string import Formatter

import pytest

from ticketing.kit.words import LANGUAGES, _, accepted, catalogue, ngettext, speak, speaking
from tools import words

PERCENT = re.compile(r"%(?:\((\w+)\))?[sd%]")


@pytest.fixture(scope="module")
def said():
    return words.said()


def placeholders(text):
    braces = {name for _, name, _, _ in Formatter().parse(text) if name is not None} if "{" in text else set()
    return braces, set(PERCENT.findall(text))


@pytest.mark.parametrize("language", words.TRANSLATED)
def test_a_catalogue_is_what_make_words_would_write(language, said):
    before = (words.LOCALE / f"{language}.po").read_bytes()
    assert before == words.updated(language, said), "run `make words`, and translate what is new"


@pytest.mark.parametrize("language", words.TRANSLATED)
def test_every_word_is_translated_with_its_placeholders(language, said):
    known = words.read(language)
    forms = {"ru": 3, "zh": 1}[language]
    for word in said:
        sources = (word,) if isinstance(word, str) else word
        message = known[sources[0]]
        told = (message.string,) if isinstance(word, str) else message.string
        assert len(told) == (1 if isinstance(word, str) else forms), word
        assert not message.fuzzy
        for each in told:
            assert each.strip(), word
            assert placeholders(each) == placeholders(sources[-1]), (word, each)
            assert each[:1].isspace() == each[-1:].isspace() is False


def test_only_languages_that_are_complete_are_offered():
    assert set(LANGUAGES) == {"en", *words.TRANSLATED}


def test_words_are_said_in_the_language_of_the_request():
    speak(None)
    assert _("Sign in") == "Sign in"
    with speaking("ru"):
        assert _("Sign in") == "Войти"
        few = [ngettext("%(total)s ticket", "%(total)s tickets", n) % {"total": n} for n in (1, 3, 11, 21)]
        assert few == ["1 заявка", "3 заявки", "11 заявок", "21 заявка"]
        assert _("never heard of this") == "never heard of this"
        assert _("") == ""
    with speaking("zh"):
        assert ngettext("%(total)s ticket", "%(total)s tickets", 2) % {"total": 2} == "2 张工单"
    speak("tlh")
    assert _("Sign in") == "Sign in"
    assert catalogue("../../etc/passwd").gettext("x") == "x"


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", None),
        ("ru", "ru"),
        ("de-DE,de;q=0.9,en;q=0.5,ru;q=0.7", "ru"),
        ("zh-Hans-CN", "zh"),
        ("ZH-TW;q=0.1", "zh"),
        ("fr, *;q=0.5", None),
        ("ru;q=0", None),
        ("en;q=0.3, zh;q=0.3", "en"),
        ("ru;q=x", None),
        ("a" * 5000 + ",ru", None),
        (",,;;==", None),
    ],
)
def test_the_browsers_languages(header, language):
    assert accepted(header) == language
