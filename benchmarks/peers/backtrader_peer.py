"""The reduced job by backtrader: market orders in `next_open` (cheat-on-open), where today's open is known."""

from __future__ import annotations

from typing import Any

import backtrader
import numpy as np
import pandas as pd

from peers.reduced import decided, fee_of, fills, tax_of


class TaiwanCosts(backtrader.CommInfoBase):
    params = (("job", None), ("stocklike", True), ("commtype", backtrader.CommInfoBase.COMM_FIXED))

    def _getcommission(self, size: float, price: float, pseudoexec: bool) -> float:  # noqa: FBT001, ARG002
        price_x100, shares = round(price * 100), int(abs(size))
        return fee_of(self.p.job, price_x100, shares) + (tax_of(self.p.job, price_x100, shares) if size < 0 else 0)


class TopK(backtrader.Strategy):
    params = (("job", None), ("knobs", None))

    def __init__(self) -> None:
        self.cost = np.zeros(len(self.p.job.symbols), np.int64)
        self.row = 0

    def nextstart_open(self) -> None:
        self.next_open()

    def prenext_open(self) -> None:
        self.next_open()

    def next_open(self) -> None:
        now, job = len(self.datas[0]) - 2, self.p.job
        if now < 0:
            return
        shares = [int(self.getposition(data).size) for data in self.datas]
        cash = round(self.broker.getcash())
        for i, wanted in fills(job, now, decided(job, self.p.knobs, now, shares, self.cost, cash)):
            price_x100 = int(job.opening[now + 1, i])
            if wanted > 0:
                self.buy(data=self.datas[i], size=wanted)
                self.cost[i] = price_x100 * wanted // 100 + fee_of(job, price_x100, wanted)
            else:
                self.sell(data=self.datas[i], size=-wanted)
                self.cost[i] = 0


def play_one(job: Any, knobs: Any) -> int:
    """The final equity of one set."""
    cerebro = backtrader.Cerebro(stdstats=False, cheat_on_open=True)
    index = pd.to_datetime([day.isoformat() for day in job.sessions])
    for i, name in enumerate(job.symbols):
        prices = {"open": job.opening, "high": job.high, "low": job.low, "close": job.close}
        frame = pd.DataFrame({key: np.where(table[:, i] == 0, 100, table[:, i]) / 100 for key, table in prices.items()},
                             index=index)  # fmt: skip
        cerebro.adddata(backtrader.feeds.PandasData(dataname=frame, volume=None, openinterest=None), name=name)
    cerebro.broker.setcash(job.cash_twd)
    cerebro.broker.set_coc(False)
    cerebro.broker.addcommissioninfo(TaiwanCosts(job=job))
    cerebro.addstrategy(TopK, job=job, knobs=knobs)
    [strategy] = cerebro.run()
    held = [int(strategy.getposition(data).size) for data in strategy.datas]
    return round(cerebro.broker.getcash()) + sum(int(job.close[-1, i]) * one // 100 for i, one in enumerate(held))
