"""What a reply means: fixed, not fixed, thanks; in English, Russian and Chinese.

Conservative: a short text whose every part is understood, else unclear. "Yes" and "no" mean something only as the
answer to our question whether it works. Words that say both are unclear, and so is a question.
"""

from __future__ import annotations

import re
from enum import StrEnum

LONGEST = 300  # characters; who writes more has something to say
_LOOKED_AT = 2000


class Meaning(StrEnum):
    """Of a reply's new text."""

    FIXED = "fixed"
    NOT_FIXED = "not_fixed"
    THANKS = "thanks"
    UNCLEAR = "unclear"


_NOT = re.compile(
    r"\bnot (?:yet )?(?:fixed|working|solved|resolved|ok|repaired|restored|there|back)\b"
    r"|\b(?:does ?n[o']t|doesnt|isn'?t|still (?:not|no)|still (?:the same|broken|down|silent|offline)|won'?t"
    r"|did ?n[o']t)\b(?: \w+){0,3}"
    r"|\bno (?:data|signal|change|connection|improvement)\b|\b(?:same problem|again (?:down|broken|silent)"
    r"|broken again)\b"
    r"|\bне (?:работает|заработал\w*|исправлен\w*|решен\w*|решён\w*|помогло|починил\w*|появил\w*"
    r"|восстановил\w*|устранен\w*"
    r"|передает\w*|передаёт|поступают|видно|выходит|идут|показывает|в порядке)\b"
    r"|\b(?:нет (?:данных|связи|сигнала|изменений)|без изменений|опять (?:не \w+|пропал\w*|сломал\w*)|снова (?:не"
    r"|пропал\w*)"
    r"|вс[её] (?:ещ[её] не \w+|так же|по-прежнему)|по-прежнему (?:не \w+|нет)|проблема (?:осталась|не решена"
    r"|сохраняется))\b"
    r"|没有?(?:修好|恢复|解决|好|数据|信号)|还是(?:不行|没有|一样|不)|仍然|未(?:恢复|解决|修复)|不(?:能用"
    r"|正常|行|好使)|又(?:坏|断|没)",
    re.IGNORECASE,
)
_FIXED = re.compile(
    r"\b(?:works(?: again| now| fine| well)?|working(?: again| now| fine)?|(?:is |all |now |been )?(?:fixed"
    r"|solved|resolved|restored"
    r"|repaired)|(?:all|everything)(?: is|'s)? (?:ok|okay|good|fine|well)|(?:data|signal) (?:is|are) (?:back"
    r"|there|coming)"
    r"|(?:it|problem) is (?:ok|okay|gone|back)|you (?:may|can) close|please close|close (?:the|this) ticket"
    r"|i confirm|confirmed)\b"
    r"|\b(?:за)?работает\b|\bзаработал\w*\b|\b(?:исправлен|решен|решён|устранен|устранён|починил|восстановил)\w*\b"
    r"|\b(?:вс[её] (?:в порядке|хорошо|ок|нормально|отлично)|данные (?:пошли|появились|идут|поступают|есть)"
    r"|(?:можно|можете) закры\w+|закрывайте|подтвержда\w+|проблем\w* (?:больше )?нет|помогло)\b"
    r"|(?:已经?|都|现在)?(?:修好|恢复|解决|修复)了?|(?:可以|能)用了|(?:一切|都|已|现在)正常|正常了|好了"
    r"|可以关闭|确认",
    re.IGNORECASE,
)
# "OK" is none: it may mean "I have read it".
_YES = re.compile(
    r"(?:yes|yep|yeah|correct|yes it is|yes it does|да|ага|верно|да конечно|是|是的|对|对的|没问题)", re.IGNORECASE
)
_NO = re.compile(
    r"(?:no|nope|not really|no it is not|no it does not|нет|неа|ещ[её] нет|пока нет|不|不是|没有|没|否|还没有?)",
    re.IGNORECASE,
)
_THANKS = re.compile(
    r"\b(?:thanks?(?: you)?(?: so much| very much| a lot| again)?|thx|many thanks|cheers|great|perfect|got it"
    r"|noted|received"
    r"|well done|much appreciated|appreciate it|have a (?:nice|good) (?:day|weekend|one)|(?:best "
    r"|kind )?regards|best|sincerely"
    r"|dear \w+|hello|hi|good (?:morning|day|afternoon|evening)|you are welcome|for (?:the|your) (?:quick "
    r"|fast )?(?:help|support|reply"
    r"|answer|work|info|information)|all the best|ok|okay|will do|understood)\b"
    r"|\b(?:большое спасибо|спасибо(?: большое| вам| за \w+(?: \w+)?)?|благодар\w+(?: вас| за \w+)?"
    r"|с уважением|отлично|супер|принято"
    r"|понял\w?|получил\w?|хорошего дня|хороших выходных|добрый (?:день|вечер)|доброе утро|здравствуйте|ок"
    r"|окей|хорошо|ясно|всего доброго)\b"
    r"|非常感谢|感谢您?的?(?:支持|帮助|回复)?|多谢|谢谢您?你?|辛苦了|收到|好的|知道了|明白了?|您好|你好|祝好",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"[?？]|\bкогда\b|\bпочему\b|\bwhen\b|\bwhy\b|吗|什么时候|为什么")
_BUT = re.compile(
    r"\b(?:but|however|except|although|yet|only|но|однако|кроме|зато|хотя|только)\b|但是?|不过|可是|除了", re.IGNORECASE
)
_NEGATED = re.compile(r"\bif\b|\bhope|\bнадеюсь|\bесли|\bnothing\b|如果|希望", re.IGNORECASE)
_EMPTY = re.compile(r"[\s\W_]*")


def meaning(text: str, *, asked: bool = False) -> Meaning:
    """What the new text of a reply says; `asked`: it answers our question whether it works."""
    text = " ".join(text[:_LOOKED_AT].replace("’", "'").split())
    not_fixed = _NOT.search(text) is not None
    rest = _NOT.sub(" ", text)
    fixed = _FIXED.search(rest) is not None
    first = re.split(r"[\s]*[.,!;:。，！；\n\-–—][\s]*", text, maxsplit=1)[0].strip().casefold()
    if asked:
        fixed = fixed or _YES.fullmatch(first) is not None
        not_fixed = not_fixed or _NO.fullmatch(first) is not None
    if _NEGATED.search(text) or (fixed and not_fixed):
        return Meaning.UNCLEAR
    if not_fixed:
        return Meaning.NOT_FIXED
    if len(text) > LONGEST or _QUESTION.search(text):
        return Meaning.UNCLEAR
    if fixed:
        return Meaning.UNCLEAR if _BUT.search(text) else Meaning.FIXED
    return Meaning.THANKS if _only_thanks(text) else Meaning.UNCLEAR


def _only_thanks(text: str) -> bool:
    """Thanks and courtesies and at most a name."""
    if not _THANKS.search(text):
        return False
    rest = _THANKS.sub(" ", text)
    words = re.findall(r"\w+", rest)
    # What is left may be a name or two: capitalised words, no figures.
    names = all(
        word[0].isupper() and word.isalpha()
        for word in words
        if (len(word) > 1 and word.isascii()) or word[0].isalpha()
    )
    return _EMPTY.fullmatch(rest) is not None or (len(words) <= 3 and names and not any(c.isdigit() for c in rest))
