"""What day.py needs of the outside world; adapters implement these, tests and the sandbox run the real ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol, runtime_checkable

from bot.core.brokerage import Abilities, Report
from bot.core.exrights import ExRight, Kind
from bot.core.feed_rows import Reading
from bot.core.forecast import Forecast, Sentiment
from bot.core.headlines import Story
from bot.core.market import Bar
from bot.core.orders import Order, OrderState
from bot.core.sessions import YearSchedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """A stock we look at. `board` is "twse" (listed) or "tpex" (over the counter)."""

    symbol: str
    name: str
    board: str


class Clock(Protocol):
    """Whose time it is: this machine's or a sandbox's."""

    def now(self) -> datetime:
        """The moment, aware, Asia/Taipei."""


class BarFeed(Protocol):
    """Daily bars, unchecked: all stocks of a board and day at a time, or one stock and month."""

    def day(self, board: str, session: date) -> Reading:
        """Every stock of `board` ("twse", "tpex") in `session`; no rows where there was no session.

        Raises:
            DataMissing: no trustworthy answer, retries included.
        """

    def month(self, company: Company, year: int, month: int) -> Reading:
        """The month so far; sessions without a trade are left out.

        Raises:
            DataMissing: no trustworthy answer, retries included.
        """


class HolidayFeed(Protocol):
    """The exchange's own list of scheduled closings."""

    def schedule(self, year: int) -> YearSchedule:
        """Closed weekdays of `year` and weekend sessions, with their names.

        Raises:
            DataMissing: no trustworthy answer, retries included.
        """


class ExRightFeed(Protocol):
    """Ex-dates of dividends and capital reductions, as the boards publish them."""

    def events(self, board: str, kind: Kind, first: date, last: date, symbols: Collection[str]) -> list[ExRight]:
        """The events of `symbols` with ex_date in first..last whose prices are fixed, oldest first. One request.

        Raises:
            DataMissing: no trustworthy answer, retries included.
        """


class NewsFeed(Protocol):
    """Headlines about a company."""

    def about(self, company: Company, name: str, language: str, since: datetime, until: datetime) -> list[Story]:
        """Headlines that hold `name`, published in since..until, newest first, each with the moment it was fetched.

        Raises:
            DataMissing: no trustworthy answer, retries included; caused by BudgetSpent when the day's requests are
                spent.
        """


class HeadlineFeeds(Protocol):
    """RSS and Atom feeds, each about everything."""

    @property
    def urls(self) -> tuple[str, ...]:
        """The feeds."""

    def read(self, url: str, known: Validators) -> FeedAnswer:
        """What the feed at `url` holds, unless the server says that it is as `known`.

        Raises:
            DataMissing: no trustworthy answer, retries included.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """What a server gave us to ask "has it changed?" with; empty where it gave nothing."""

    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedAnswer:
    """What a feed holds now, in its own order; `changed` is False, and nothing in it, when it is as it was."""

    stories: tuple[Story, ...]
    validators: Validators
    fetched_at: datetime
    changed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One forecast asked for: bars oldest first, the last one is the session it is asked after.

    `context` is what else the model is told, headlines or a person's words. A `masked` question names neither the
    stock nor the day.
    """

    company: Company
    bars: tuple[Bar, ...]
    future_sessions: int
    context: tuple[str, ...] = ()
    masked: bool = False

    @property
    def as_of(self) -> date:
        """The session after whose close the question is asked."""
        return self.bars[-1].session


class Engine(Protocol):
    """A model that answers. One batch a call; `None` in an answer's place is an abstention."""

    @property
    def model(self) -> str:
        """The exact model: its name and a fingerprint of the weights."""

    def forecast(self, questions: Sequence[Question]) -> list[Forecast | None]:
        """An answer for each question, in order.

        Raises:
            EngineFailed: the engine is gone; abstain for all.
        """

    def sentiment(self, titles: Sequence[str]) -> Sequence[Sentiment | None]:
        """The mood of each headline, in order; None where it is unknown.

        Raises:
            EngineFailed: the engine is gone.
        """

    def close(self) -> None:
        """Give the memory back."""


@runtime_checkable
class Explains(Protocol):
    """An engine that tells why its last batch has holes."""

    @property
    def abstentions(self) -> Mapping[str, int]:
        """How many answers are missing, by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the broker said to an order: `accepted`, `rejected` or `unknown`, and its words, redacted."""

    state: OrderState
    reply: str
    closed: bool = False  # rejected only because the broker takes no orders now: for certain nothing was accepted


class Broker(Protocol):
    """Where orders go. What it can't do is declared in `abilities`, and answered with None."""

    @property
    def abilities(self) -> Abilities:
        """What this broker can do."""

    def submit(self, order: Order) -> Receipt:
        """Send the order once. A lost or odd reply is `unknown`, never an exception that invites a retry.

        Raises:
            ValueError: the order is in no quantity that the broker takes (a bug: the rule knows `lot_shares`).
        """

    def end_session(self, session: date, bars: Mapping[str, Bar]) -> None:
        """`session` is over: an embedded broker fills its resting orders now, a remote one has done so itself."""

    def holdings(self) -> Mapping[str, int]:
        """Shares held by symbol, those still to be delivered included.

        Raises:
            DataMissing: the reading failed; it is not an empty book.
        """

    def prices_x100(self, orders: Sequence[Order]) -> Mapping[str, int] | None:
        """Fill prices by order key, where the broker tells them (`tells_fills`); None where it does not.

        Raises:
            DataMissing: the reading failed.
        """

    def cash_twd(self) -> int | None:
        """Cash with every trade so far counted, settled or not (`tells_cash`); None where the broker can't tell.

        Raises:
            DataMissing: the reading failed.
        """

    def order_states(self, orders: Sequence[Order]) -> Mapping[str, Report] | None:
        """What the broker's list says of `orders`, by key (`lists_orders`); None where it has no list.

        An order that is not in the answer is not in the list now. That is no proof that it never arrived: only the
        book after the session is.

        Raises:
            DataMissing: the reading failed.
        """


@runtime_checkable
class Cancels(Protocol):
    """A broker that can take an order back; exactly those that declare `can_cancel`."""

    def cancel(self, order: Order) -> Receipt:
        """Ask once for `order` to be taken back.

        `cancelled`: it will not trade any more (what traded before stays traded: see `order_states`); `rejected`: it
        could not be taken back; `unknown`: no one can say, look it up.
        """
