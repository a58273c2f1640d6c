"""A slow ledger and rule of its own: Decimal prices and dicts, written from the rule books and docs/, not from ours.

It imports nothing of the code that it checks. Sources: TWSE Operating Rules, art. 60, 62, 63 (lots, ticks, limits);
Securities Transaction Tax Act, art. 2; config.toml for the knobs; docs/backtest.md for fill rules and settlement.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction
from typing import Any

CENT = Decimal("0.01")


def tick(price: Decimal, *, fund: bool) -> Decimal:
    steps = (
        [("50", "0.01"), (None, "0.05")]
        if fund
        else [("10", "0.01"), ("50", "0.05"), ("100", "0.1"), ("500", "0.5"), ("1000", "1"), (None, "5")]
    )
    return next(Decimal(step) for below, step in steps if below is None or price < Decimal(below))


def to_tick(price: Decimal, rounding: str, *, fund: bool) -> Decimal:
    step = tick(price, fund=fund)
    return (price / step).to_integral_value(rounding) * step


def limits(reference: Decimal, session: date, *, fund: bool) -> tuple[Decimal, Decimal]:
    """Lowest and highest price of a session, both on the tick and inside the band."""
    band = Decimal("0.10") if session >= date(2015, 6, 1) else Decimal("0.07")
    low = (reference * (1 - band)).quantize(CENT, ROUND_CEILING)
    high = (reference * (1 + band)).quantize(CENT, ROUND_FLOOR)
    return to_tick(low, ROUND_CEILING, fund=fund), to_tick(high, ROUND_FLOOR, fund=fund)


def step_by(price: Decimal, ticks: int, *, fund: bool) -> Decimal:
    for _ in range(abs(ticks)):
        price += tick(price, fund=fund) if ticks > 0 else -tick(price - CENT, fund=fund)
    return price


def whole(money: Decimal) -> int:
    """Money as brokers bill it: the part of a dollar is not billed."""
    return int(money.to_integral_value(ROUND_FLOOR))


@dataclass
class Lot:
    shares: int
    cost: int
    opened: int


@dataclass
class SlowRun:
    """What came of a run: `fills` are (session, symbol, shares, price, fee, tax)."""

    equity: list[int] = field(default_factory=list)
    fills: list[tuple[int, str, int, Decimal, int, int]] = field(default_factory=list)
    dividends: int = 0
    fees: int = 0
    taxes: int = 0
    turnover: int = 0
    closed: int = 0

    @property
    def drawdown(self) -> float:
        peak, deepest = self.equity[0], Fraction(0)
        for equity in self.equity:
            peak = max(peak, equity)
            deepest = max(deepest, Fraction(peak - equity, peak))
        return float(deepest)


@dataclass(frozen=True)
class SlowMarket:
    """By session number and symbol: bars as Decimals, forecasts, ex-dates."""

    sessions: list[date]
    symbols: list[str]
    bars: list[dict[str, dict[str, Decimal]]]  # open, high, low, close, volume; absent: not traded
    reference: list[dict[str, Decimal]]
    targets: list[dict[str, Decimal]]
    lows: list[dict[str, Decimal]]  # the lower ends of the forecasts' bands
    likely: list[dict[str, int]]  # P(up) in bps
    moods: list[dict[str, int]]
    dividends: list[dict[str, Decimal]]  # TWD a share
    ratios: list[dict[str, Fraction]]  # new shares for an old one
    gains: dict[tuple[int, str, Decimal], int] = field(
        default_factory=dict
    )  # worked out once: fractions take their time

    def gain_e8(self, now: int, symbol: str, target: Decimal, close: Decimal) -> int:
        """The return to the target in hundred-millionths, cut."""
        found = self.gains.get((now, symbol, target))
        if found is None:
            found = self.gains[now, symbol, target] = int((Fraction(target) / Fraction(close) - 1) * 10**8 // 1)
        return found

    @classmethod
    def of(cls, tape: Any) -> SlowMarket:
        def price(table: Any, row: int, column: int) -> Decimal:
            return Decimal(int(table[row, column])) / 100

        rows = range(len(tape.sessions))
        named = list(enumerate(tape.symbols))
        fields = {"open": tape.open_x100, "high": tape.high_x100, "low": tape.low_x100, "close": tape.close_x100}
        return cls(
            sessions=list(tape.sessions),
            symbols=list(tape.symbols),
            bars=[
                {
                    symbol: {name: price(table, row, i) for name, table in fields.items()}
                    | {"volume": Decimal(int(tape.volume_shares[row, i]))}
                    for i, symbol in named
                    if tape.traded[row, i]
                }
                for row in rows
            ],
            reference=[{symbol: price(tape.reference_x100, row, i) for i, symbol in named} for row in rows],
            targets=[
                {symbol: price(tape.target_x100, row, i) for i, symbol in named if tape.target_x100[row, i]}
                for row in rows
            ],
            lows=[
                {symbol: price(tape.band_low_x100, row, i) for i, symbol in named if tape.band_low_x100[row, i]}
                for row in rows
            ],
            likely=[
                {symbol: int(tape.p_up_bps[row, i]) for i, symbol in named if tape.p_up_bps[row, i] >= 0}
                for row in rows
            ],
            moods=[
                {
                    symbol: int(tape.sentiment_bps[row, i])
                    for i, symbol in named
                    if tape.sentiment_bps[row, i] > -100_000
                }
                for row in rows
            ],
            dividends=[
                {symbol: Decimal(int(tape.dividend_e8[row, i])).scaleb(-8) for i, symbol in named} for row in rows
            ],
            ratios=[{symbol: Fraction(int(tape.share_ratio_e8[row, i]), 10**8) for i, symbol in named} for row in rows],
        )


class SlowLedger:
    """One account through all sessions of a market, by one set of knobs."""

    def __init__(self, market: SlowMarket, knobs: dict[str, int], costs: Any, terms: Any) -> None:
        self.market, self.knobs, self.costs, self.terms = market, knobs, costs, terms
        self.cash = terms.start_cash_twd
        self.lots: dict[str, Lot] = {}
        self.last: dict[str, Decimal] = {}
        self.coming: deque[tuple[int, int]] = deque()  # (session in which it may be spent, TWD)
        self.run = SlowRun()

    # --- costs

    def fee(self, price: Decimal, shares: int) -> int:
        return max(self.costs.minimum_twd, whole(price * shares * self.costs.commission * self.costs.discount))

    def tax(self, symbol: str, price: Decimal, shares: int) -> int:
        rate = self.costs.etf_tax if symbol.startswith("00") else self.costs.stock_tax
        return whole(price * shares * rate)

    def price_of(self, price: Decimal, shares: int) -> int:
        return whole(price * shares) + self.fee(price, shares)

    # --- the rule

    def exit_wanted(self, now: int, symbol: str) -> bool:
        lot, close = self.lots[symbol], self.last[symbol]
        worth, knobs = whole(close * lot.shares), self.knobs
        if knobs["stop_bps"] and worth <= lot.cost * (1 - Fraction(knobs["stop_bps"], 10_000)):
            return True
        if knobs["take_profit_bps"] and worth >= lot.cost * (1 + Fraction(knobs["take_profit_bps"], 10_000)):
            return True
        target = self.market.targets[now].get(symbol)
        if target is not None and Fraction(target) / Fraction(close) - 1 < Fraction(knobs["exit_return_bps"], 10_000):
            return True
        mood = self.market.moods[now].get(symbol)
        if mood is not None and mood <= knobs["exit_sentiment_bps"]:
            return True
        return bool(knobs["max_holding_sessions"]) and now - lot.opened + 1 >= knobs["max_holding_sessions"]

    def orders(self, now: int) -> list[tuple[str, int, Decimal]]:
        """(symbol, signed shares, limit) for the session after number `now`."""
        knobs, traded, told = self.knobs, self.market.bars[now], []
        for symbol in list(self.lots):
            if symbol in traded and self.exit_wanted(now, symbol):
                limit = self.limit(now, symbol, -knobs["sell_offset_bps"], ROUND_CEILING)
                told.append((symbol, -self.lots[symbol].shares, limit))
        free = self.cash - sum(money for _, money in self.coming)
        slots = knobs["top_k"] - len(self.lots)
        slot = min(max(self.equity(), 0) * knobs["invest_bps"] // 10_000 // knobs["top_k"], knobs["max_order_twd"])
        for symbol in self.candidates(now):
            if slots <= 0:
                break
            limit = self.limit(now, symbol, knobs["buy_offset_bps"], ROUND_FLOOR)
            shares = self.most_shares(limit, min(slot, free))
            if shares:
                told.append((symbol, shares, limit))
                free -= self.price_of(limit, shares)
                slots -= 1
        return told

    def candidates(self, now: int) -> list[str]:
        """Stocks worth buying, best first. A return is told in whole hundred-millionths, cut."""
        edges = {}
        told = self.market.lows if self.knobs["edge_from_low"] else self.market.targets
        least = self.knobs["min_p_up_bps"]
        for symbol, target in told[now].items():
            if symbol not in self.market.bars[now] or symbol in self.lots:
                continue
            if least and self.market.likely[now].get(symbol, -1) < least:
                continue
            mood = self.market.moods[now].get(symbol)
            if mood is not None and mood < self.knobs["min_sentiment_bps"]:
                continue
            gain = self.market.gain_e8(now, symbol, target, self.last[symbol])
            tax = self.costs.etf_tax if symbol.startswith("00") else self.costs.stock_tax
            edge = gain - int((2 * self.costs.commission * self.costs.discount + tax) * 10**8)
            if edge >= self.knobs["entry_edge_bps"] * 10_000:
                edges[symbol] = edge
        return sorted(edges, key=lambda symbol: (-edges[symbol], self.market.symbols.index(symbol)))

    def limit(self, now: int, symbol: str, offset_bps: int, rounding: str) -> Decimal:
        fund = symbol.startswith("00")
        reference = self.market.reference[now + 1][symbol]
        low, high = limits(reference, self.market.sessions[now + 1], fund=fund)
        wished = (reference * (10_000 + offset_bps) / 10_000).quantize(CENT, ROUND_FLOOR)
        return min(max(to_tick(wished, rounding, fund=fund), low), high)

    def most_shares(self, limit: Decimal, budget: int) -> int:
        """The most whole lots that the budget pays for, found by halving."""
        step = self.knobs["lot_shares"]
        few, many = 0, max(budget, 0) * 100 // (int(limit * 100) * step) + 1
        while many - few > 1:
            middle = (few + many) // 2
            if self.price_of(limit, middle * step) <= budget:
                few = middle
            else:
                many = middle
        return few * step

    # --- the exchange

    def play(self) -> SlowRun:
        self.see(0)
        self.run.equity.append(self.cash)
        for now in range(1, len(self.market.sessions)):
            self.trade(now, self.orders(now - 1))
            self.see(now)
            self.run.equity.append(self.equity())
        return self.run

    def see(self, now: int) -> None:
        for symbol, bar in self.market.bars[now].items():
            self.last[symbol] = bar["close"]

    def equity(self) -> int:
        return self.cash + sum(whole(self.last[symbol] * lot.shares) for symbol, lot in self.lots.items())

    def trade(self, now: int, orders: list[tuple[str, int, Decimal]]) -> None:
        while self.coming and self.coming[0][0] <= now:
            self.coming.popleft()
        for symbol in list(self.lots):
            lot = self.lots[symbol]
            cash = whole(self.market.dividends[now][symbol] * lot.shares)
            self.cash += cash
            self.run.dividends += cash
            lot.shares = int(lot.shares * self.market.ratios[now][symbol])
            if not lot.shares:
                del self.lots[symbol]
                self.run.closed += 1
        for symbol, ordered, limit in orders:
            bar = self.market.bars[now].get(symbol)
            if bar is None:
                continue
            there = self.lots[symbol].shares if symbol in self.lots else 0
            price = self.fill_price(now, symbol, limit, bar, buys=ordered > 0)
            if price is not None:
                shares = self.capped(max(ordered, -there), bar["volume"])
                if shares:
                    self.fill(now, symbol, shares, price)

    def fill_price(
        self, now: int, symbol: str, limit: Decimal, bar: dict[str, Decimal], *, buys: bool
    ) -> Decimal | None:
        fund, ticks, rule = symbol.startswith("00"), self.terms.slippage_ticks, self.terms.fill_rule
        low, high = limits(self.market.reference[now][symbol], self.market.sessions[now], fund=fund)
        still = bar["high"] == bar["low"]
        locked = still and (bar["high"] >= high if buys else bar["low"] <= low)
        if locked and rule != "touch":
            return None
        if rule == "open":
            if buys:
                price = min(step_by(bar["open"], ticks, fund=fund), bar["high"])
                return price if price <= limit else None
            price = max(step_by(bar["open"], -ticks, fund=fund), bar["low"])
            return price if price >= limit else None
        bottom = step_by(bar["low"], ticks, fund=fund) if buys else bar["low"]
        top = bar["high"] if buys else step_by(bar["high"], -ticks, fund=fund)
        reached = bottom <= limit <= top if rule == "touch" else bottom < limit < top
        return limit if reached else None

    def capped(self, shares: int, volume: Decimal) -> int:
        if not self.terms.volume_share_bps:
            return shares
        most = whole(volume * self.terms.volume_share_bps / 10_000)
        if abs(shares) <= most:
            return shares
        step = self.knobs["lot_shares"]
        return (1 if shares > 0 else -1) * (most // step * step)

    def fill(self, now: int, symbol: str, shares: int, price: Decimal) -> None:
        value, fee = whole(price * abs(shares)), self.fee(price, abs(shares))
        tax = 0
        if shares > 0:
            lot = self.lots.setdefault(symbol, Lot(0, 0, now))
            self.cash -= value + fee
            lot.cost += value + fee
        else:
            tax = self.tax(symbol, price, -shares)
            proceeds = value - fee - tax
            self.cash += proceeds
            if self.terms.settlement_sessions and proceeds > 0:
                self.coming.append((now + self.terms.settlement_sessions, proceeds))
            lot = self.lots[symbol]
            lot.cost -= lot.cost * -shares // lot.shares
        lot.shares += shares
        if not lot.shares:
            del self.lots[symbol]
            self.run.closed += 1
        self.run.fees += fee
        self.run.taxes += tax
        self.run.turnover += value
        self.run.fills.append((now, symbol, shares, price, fee, tax))
