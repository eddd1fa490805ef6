"""What short replies mean, in three languages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketing.mail.words import Meaning, meaning

FIXED = [
    "It works now",
    "Works again, thanks!",
    "All fixed, thank you",
    "Data is back",
    "Confirmed",
    "Please close the ticket",
    "Everything is fine",
    "Problem solved",
    "Всё работает",
    "Заработало, спасибо!",
    "Да, данные пошли",
    "Проблема решена",
    "Можно закрывать",
    "Подтверждаю",
    "Всё в порядке",
    "已经恢复了",
    "修好了，谢谢",
    "现在正常",
    "可以关闭",
]
NOT_FIXED = [
    "Not fixed",
    "It still does not work",
    "Doesn't work",
    "It isn’t working",
    "Still no data",
    "Same problem",
    "No data since morning",
    "Broken again",
    "Не работает",
    "Данные не поступают",
    "Нет данных",
    "Опять пропала связь",
    "Проблема осталась",
    "Всё ещё не видно машину",
    "没修好",
    "还是不行",
    "没有数据",
    "仍然没有信号",
    "未恢复",
    "不能用",
]
THANKS = [
    "Thanks",
    "Thank you very much!",
    "Great, thanks for the quick help. Best regards, Ann",
    "Got it, thanks",
    "Ok",
    "Спасибо",
    "Спасибо большое! С уважением, Иван Петров",
    "Принято, спасибо",
    "Хорошо",
    "谢谢",
    "收到，谢谢！",
    "辛苦了",
    "好的，谢谢",
]
UNCLEAR = [
    "",
    "Is it fixed?",
    "When will it work?",
    "It works, but the fuel is wrong",
    "Thanks. And what about the second truck?",
    "I hope it works",
    "If it works I will tell you",
    "Call me",
    "Работает, но топливо неверное",
    "Когда заработает?",
    "Спасибо, а вторая машина?",
    "Надеюсь, заработает",
    "好了吗？",
    "修好了，但是油量不对",
    "Thanks, plate A001AA too",
    "It did not work yesterday, now it works",
    "Thank you. " + "We have forty trucks. " * 30,
]


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("text", FIXED)
def test_fixed(text: str, asked: bool) -> None:
    assert meaning(text, asked=asked) is Meaning.FIXED


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("text", NOT_FIXED)
def test_not_fixed(text: str, asked: bool) -> None:
    assert meaning(text, asked=asked) is Meaning.NOT_FIXED


@pytest.mark.parametrize("text", THANKS)
def test_thanks(text: str) -> None:
    assert meaning(text) is Meaning.THANKS


@pytest.mark.parametrize("text", UNCLEAR)
def test_unclear(text: str) -> None:
    assert meaning(text) is Meaning.UNCLEAR


@pytest.mark.parametrize("text", ["Yes", "yes, thanks", "Да", "да, спасибо", "Ага", "是的", "对，谢谢"])
def test_yes_counts_where_we_asked(text: str) -> None:
    assert meaning(text, asked=True) is Meaning.FIXED
    assert meaning(text) in (Meaning.UNCLEAR, Meaning.THANKS)


@pytest.mark.parametrize("text", ["OK", "Ok, thanks", "Хорошо", "好的，谢谢"])
def test_ok_is_no_yes(text: str) -> None:
    assert meaning(text, asked=True) is Meaning.THANKS


@pytest.mark.parametrize("text", ["No", "no, sorry", "Нет", "Пока нет", "没有", "不"])
def test_no_counts_where_we_asked(text: str) -> None:
    assert meaning(text, asked=True) is Meaning.NOT_FIXED
    assert meaning(text) is Meaning.UNCLEAR


@given(st.text(max_size=400), st.booleans())
def test_any_text_is_answered(text: str, asked: bool) -> None:
    meaning(text, asked=asked)
