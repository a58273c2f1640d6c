r"""The model's language: a window of bars as text, the answer it writes in return, and the sentiment question.

Each bar is a line of four 3-digit codes, close open high low, told as signed steps from the close before it:
500 = unchanged, one step = 1/500 of the daily limit (0.02 % at 10 %). Any digits are a valid answer, so an engine
may force the line ends, choose among digits only, and always gets bars inside the daily limit and on the tick.

    close before 1040; close 1045, open 1045, high 1050, low 1035  ->  "524524548476\n"

The close comes first because its distribution is read off where it is told: after its own bar's high and low it would
be the distribution of a close that must lie between those two, which is far too narrow (measured: docs/bands.md).

Nothing stands between the codes: that is a quarter fewer tokens, it cuts into one token a code on tokenizers with
3-digit tokens, and a small model copies one column into the next far more often where blanks show it the columns.

Training, live and backtest write their questions here and nowhere else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final, Protocol

from bot.core.forecast import ForecastBar
from bot.core.foreign_text import one_line
from bot.core.market import (
    Bar,
    ceil_to_tick_x100,
    floor_to_tick_x100,
    from_x100,
    is_etf,
    limit_down_x100,
    limit_pct,
    limit_up_x100,
    to_x100,
)
from bot.core.typography import tidied

CODES: Final = 1000  # a code is 000..999
CODE_DIGITS: Final = 3
UNCHANGED: Final = 500  # the code of the close before
STEPS: Final = 500  # steps from unchanged to the daily limit
FIELDS: Final = ("close", "open", "high", "low")
LANGUAGE: Final = 2  # raised when questions or answers change: an adapter speaks the language it was trained on
BAR_PATTERN: Final = re.compile(r"(\d{3})(\d{3})(\d{3})(\d{3})\n", re.ASCII)


class Prices(Protocol):
    """Anything with the four prices of a session: a `Bar`, a `ForecastBar`. TWD per share."""

    @property
    def open(self) -> Decimal:
        """The first price."""

    @property
    def high(self) -> Decimal:
        """The highest price."""

    @property
    def low(self) -> Decimal:
        """The lowest price."""

    @property
    def close(self) -> Decimal:
        """The last price."""


def code_of(price_x100: int, before_x100: int, pct: int = 10) -> int:
    """The code nearest to a price, seen from the close before it; prices outside the limit get the end codes."""
    per_step = before_x100 * pct  # 50,000 hundredths of a step
    steps = (2 * (price_x100 - before_x100) * 100 * STEPS + per_step) // (2 * per_step)  # rounded half up
    return min(max(UNCHANGED + steps, 0), CODES - 1)


def price_of_x100(code: int, before_x100: int, etf: bool, pct: int = 10) -> int:  # noqa: FBT001
    """The tradable price nearest to a code's, inside the daily limit; 000 and 999 are the two limits themselves.

    `price_of_x100(code_of(p)) == p` for every tradable `p` inside the limit while the tick at the lower limit is wider
    than 1.5 steps: for all stocks up to TWD 16,000. Where ticks are finer (funds at 33..55 TWD, above 166 TWD), `p`
    comes back within two steps, 0.04 % of the close before.
    """
    lowest, highest = limit_down_x100(before_x100, etf, pct), limit_up_x100(before_x100, etf, pct)
    if code == 0:
        return lowest
    if code == CODES - 1:
        return highest
    scaled = before_x100 * (100 * STEPS + (code - UNCHANGED) * pct)  # the exact price times 50,000
    scale = 100 * STEPS
    below = max(floor_to_tick_x100(scaled // scale, etf), lowest)
    above = min(ceil_to_tick_x100(-(-scaled // scale), etf), highest)
    return below if scaled - below * scale <= above * scale - scaled else above


def answer_text(bars: Sequence[Prices], close: Decimal, pct: int = 10) -> str:
    """The answer that says `bars`: one line of codes each, told from `close`, the last close before them."""
    return "".join(_lines(bars, to_x100(close), pct))


def answer_shape(future_sessions: int) -> str:
    """An answer with every digit 0: engines derive from it which tokens are forced and which are theirs to choose."""
    return "000000000000\n" * future_sessions


def read_answer(text: str, last_close: Decimal, *, etf: bool = False, pct: int = 10) -> tuple[ForecastBar, ...]:
    """The bars that an answer says, each told from the close before it; high and low are widened to hold the body.

    Every text of the right shape is readable, and every price is tradable: on the tick and inside the daily limit of
    the (rolling) close before. `read_answer(answer_text(bars, c), c) == bars` for bars that are tradable themselves,
    under the condition in `price_of_x100`.

    Raises:
        ValueError: `text` does not have the shape of an answer.
    """
    if not re.fullmatch(f"(?:{BAR_PATTERN.pattern})+", text, re.ASCII):
        raise ValueError(f"not an answer: {text[:40]!r}")
    before_x100 = to_x100(last_close)
    bars = []
    for codes in BAR_PATTERN.findall(text):
        close, opened, high, low = (price_of_x100(int(code), before_x100, etf, pct) for code in codes)
        high, low = max(opened, high, low, close), min(opened, high, low, close)
        bars.append(
            ForecastBar(open=from_x100(opened), high=from_x100(high), low=from_x100(low), close=from_x100(close))
        )
        before_x100 = close
    return tuple(bars)


def question_text(
    name: str,
    bars: Sequence[Bar],
    *,
    context: Sequence[str] = (),
    masked: bool = False,
    columns: Sequence[str] = FIELDS,
) -> str:
    """What the model is asked: who, when, at what price, the news, and the past bars as lines that the answer goes on.

    `bars` are oldest first; the first one is told from its own open, as nothing is known before it. The number of
    future sessions is not said: an answer of five lines begins with the answer of one line. `context` is foreign text,
    cleaned and tidied, CONTEXT_LINES lines of it at most. A `masked` question hides name, code and day. `columns`, of
    COLUMNS in their order, choose what a past bar's line tells; the answer always has the four prices.

    Raises:
        ValueError: `columns` are none, not in COLUMNS, or in another order.
    """
    head = question_head(name, bars[-1], context=context, masked=masked, columns=columns)
    return head + "".join(_past_lines(bars, to_x100(bars[0].open), limit_pct(bars[-1].session), columns))


def question_head(
    name: str, last: Bar, *, context: Sequence[str] = (), masked: bool = False, columns: Sequence[str] = FIELDS
) -> str:
    """A question as far as its past bars, of which `last` is the newest; raises as `question_text`."""
    if not columns or list(columns) != [one for one in COLUMNS if one in columns]:
        raise ValueError(f"columns must be some of {', '.join(COLUMNS)}, in this order: {', '.join(columns)}")
    who, when = ("A stock", "a day") if masked else (f"{last.symbol} {clean_text(name, NAME_CHARS)}", str(last.session))
    head = f"{who}, close {last.close.normalize():f} on {when}\n"
    told = [headline_text(one) for one in context]
    news = "".join(f"News: {one}\n" for one in [one for one in told if one][:CONTEXT_LINES])
    return _prefix(columns) + head + news


def read_forecast(text: str, last: Bar) -> tuple[ForecastBar, ...]:
    """The bars that an answer to a question ending in `last` says; raises as `read_answer`."""
    return read_answer(text, last.close, etf=is_etf(last.symbol), pct=limit_pct(last.session))


def _lines(bars: Sequence[Prices], before_x100: int, pct: int) -> Iterator[str]:
    """Each bar's line, told from the close before it."""
    for bar in bars:
        yield bar_line(bar, before_x100, pct)
        before_x100 = to_x100(bar.close)


def bar_line(bar: Prices, before_x100: int, pct: int) -> str:
    """One bar of an answer, or of a question with the four prices; `before_x100` is the close before it."""
    return "".join(f"{code_of(to_x100(getattr(bar, field)), before_x100, pct):03d}" for field in FIELDS) + "\n"


def _past_lines(bars: Sequence[Bar], before_x100: int, pct: int, columns: Sequence[str]) -> Iterator[str]:
    """The `columns` of each bar's line; a volume's code is told from the mean volume of `bars`."""
    total = sum(bar.volume_shares for bar in bars)
    for bar, line in zip(bars, _lines(bars, before_x100, pct), strict=True):
        codes = [line[at : at + CODE_DIGITS] for at in range(0, len(FIELDS) * CODE_DIGITS, CODE_DIGITS)]
        if "volume" in columns:
            codes.append(f"{volume_code(bar.volume_shares, total, len(bars)):03d}")
        yield "".join(code for name, code in zip(COLUMNS, codes, strict=False) if name in columns) + "\n"


def volume_code(shares: int, total_shares: int, sessions: int) -> int:
    """A session's volume as a code: 500 is the mean of the window, 999 twice the mean or more, 0 nothing."""
    if total_shares == 0:
        return UNCHANGED
    return min(CODES - 1, (2 * UNCHANGED * shares * sessions + total_shares) // (2 * total_shares))


def _prefix(columns: Sequence[str]) -> str:
    """The first line, which all questions with these columns share."""
    return f"Daily prices: {' '.join(columns)}, 500 = the close before, one step = 0.02 %.\n"


COLUMNS: Final = (*FIELDS, "volume")
CONTEXT_LINES: Final = 5
QUESTION_PREFIX: Final = _prefix(FIELDS)

# --- sentiment -------------------------------------------------------------------------------------------------

LABELS: Final = ("positive", "neutral", "negative")
WORDING: Final = 2  # raised when a question about a headline changes: stored moods of another wording don't count
TITLE_CHARS: Final = 320  # a headline, or the longest sentence that analysts labelled; the rest is not read
NAME_CHARS: Final = 24
SENTIMENT_SUFFIX: Final = "\nSentiment:"

# Our own words. Six shown answers, and headlines of every kind whose mean score is what any headline scores: a model's
# scores are read relative to it, which takes out its liking for one label.
_SHOWN: Final = (
    ("Quarterly profit doubles and beats forecasts, dividend raised", "positive"),
    ("Company to hold its annual meeting on 12 June in Taipei", "neutral"),
    ("Chip maker cuts outlook as orders fall, shares slump", "negative"),
    ("Foxconn wins large order for AI servers", "positive"),
    ("Board appoints new chief financial officer", "neutral"),
    ("Regulator fines bank for breach of rules", "negative"),
)
REFERENCE_TITLES: Final = (
    "Net profit rises 20 % in the third quarter on strong demand",
    "Company wins large order, raises full-year outlook",
    "Operating loss widens as sales fall",
    "Regulator fines the group, shares drop sharply",
    "The company will publish its interim report on 8 August",
    "Board appoints new chief financial officer",
    "The group has operations in twelve countries",
    "Contract covers delivery of equipment in 2015",
    "營收年增三成 創同期新高",
    "接獲大單 法人看好後市",
    "毛利率下滑 獲利不如預期",
    "遭外資賣超 股價重挫",
    "公司公告召開股東常會",
    "董事會通過人事異動",
    "產業展覽下週登場",
    "公司說明媒體報導",
)
# How a model that was fine-tuned on headlines is asked: it needs no examples and no correction.
TUNED_MOOD_PREFIX: Final = "Headline:"
SENTIMENT_PREFIX: Final = (
    "".join(f"Headline: {title}{SENTIMENT_SUFFIX} {label}\n\n" for title, label in _SHOWN) + "Headline:"
)


def sentiment_text(title: str) -> str:
    """What the model is asked about a headline, after SENTIMENT_PREFIX; its next word is one of LABELS.

    A title that `headline_text` leaves nothing of has no mood: callers don't ask about it.
    """
    return f" {headline_text(title)}{SENTIMENT_SUFFIX}"


def headline_text(title: str) -> str:
    """A headline as every question tells it: `clean_text`, then `tidied`; "" where nothing is left to read.

    Measured on the train side of Financial PhraseBank in five folds, the same seeds: weighted F1 0.8665 so, 0.8644 with
    texts as they were typed.
    """
    return tidied(clean_text(title, TITLE_CHARS))


_BRACKETS: Final = frozenset("<>|[]{}")  # all that chat templates are made of


def clean_text(text: str, limit: int) -> str:
    """Foreign text as data: one line of at most `limit` characters, without what could steer a model or a terminal.

    Compatibility forms are folded, control, bidi, unseen and private-use characters and floods of marks dropped, and
    the brackets that every chat template builds its turns from become spaces, so that no turn can be opened. So do
    characters that hold a bracket, like the struck-through one: tokenizers that take marks off would set it free.
    """
    folded = unicodedata.normalize("NFKC", one_line(text[: 4 * limit]))
    shown = one_line("".join(" " if _BRACKETS & set(unicodedata.normalize("NFKD", one)) else one for one in folded))
    return unicodedata.normalize("NFKC", shown)[:limit].rstrip()
