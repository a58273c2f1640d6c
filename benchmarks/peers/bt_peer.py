"""The reduced job by bt: one algo that decides and transacts; its prices are the opens at which orders trade."""

from __future__ import annotations

from typing import Any

import bt
import numpy as np
import pandas as pd

from peers.reduced import decided, fee_of, fills, tax_of


class TopK(bt.Algo):
    """Decides on yesterday's row, trades at today's open."""

    def __init__(self, job: Any, knobs: Any) -> None:
        super().__init__()
        self.job, self.knobs = job, knobs
        self.row_of = {pd.Timestamp(day): row for row, day in enumerate(job.sessions)}
        self.cost = np.zeros(len(job.symbols), np.int64)

    def __call__(self, target: Any) -> bool:
        now, job = self.row_of.get(target.now, 0) - 1, self.job
        if now < 0:
            return True
        names = job.symbols
        shares = [int(target.children[name].position) if name in target.children else 0 for name in names]
        cash = round(target.capital)
        for i, wanted in fills(job, now, decided(job, self.knobs, now, shares, self.cost, cash)):
            price_x100 = int(job.opening[now + 1, i])
            target.transact(wanted, child=names[i])
            self.cost[i] = price_x100 * wanted // 100 + fee_of(job, price_x100, wanted) if wanted > 0 else 0
        return True


def play_one(job: Any, knobs: Any) -> int:
    """The final equity of one set."""
    index = pd.to_datetime([day.isoformat() for day in job.sessions])
    opens = pd.DataFrame(np.where(job.opening == 0, 100, job.opening) / 100, index=index, columns=job.symbols)
    strategy = bt.Strategy("job", [TopK(job, knobs)], children=list(job.symbols))

    def commission(quantity: float, price: float) -> float:
        price_x100, shares = round(price * 100), int(abs(quantity))
        return fee_of(job, price_x100, shares) + (tax_of(job, price_x100, shares) if quantity < 0 else 0)

    test = bt.Backtest(strategy, opens, initial_capital=job.cash_twd, commissions=commission,
                       integer_positions=True, progress_bar=False)  # fmt: skip
    test.run()
    root = test.strategy
    held = {name: int(child.position) for name, child in root.children.items()}
    worth = sum(int(job.close[-1, i]) * held.get(name, 0) // 100 for i, name in enumerate(job.symbols))
    return round(root.capital) + worth
