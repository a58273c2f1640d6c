"""Where bars come from: a day of a whole board in bulk, a month of one stock through twstock."""

from __future__ import annotations

from datetime import date

from bot.adapters.tpex_bulk import TpexBulk
from bot.adapters.twse_bulk import TwseBulk
from bot.adapters.twstock_bars import TwstockBars
from bot.config import FeedsConfig
from bot.core.feed_rows import Reading
from bot.ports import Company


class PriceFeed:
    """BarFeed over both boards."""

    def __init__(self, feeds: FeedsConfig) -> None:
        """Nothing is asked yet.

        Raises:
            ConfigError: a base address is none.
        """
        self._bulk: dict[str, TwseBulk | TpexBulk] = {"twse": TwseBulk(feeds.twse), "tpex": TpexBulk(feeds.tpex)}
        self._months = TwstockBars(feeds)

    def day(self, board: str, session: date) -> Reading:
        """Every stock of `board` in `session`, in one request.

        Raises:
            DataMissing: no trustworthy answer, retries included.
        """
        return self._bulk[board].day(session)

    def month(self, company: Company, year: int, month: int) -> Reading:
        """The month so far of one stock.

        Raises:
            DataMissing: no trustworthy answer, retries included.
        """
        return self._months.month(company, year, month)

    def close(self) -> None:
        """Close the connections."""
        for bulk in self._bulk.values():
            bulk.close()
        self._months.close()
