"""What a forecaster says, straight into a tape's tables: no value is made for each stock and session."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from backtest.forecasters import Forecaster, Naive, Stored
from backtest.history import History
from backtest.tape import Tape, tell, untold
from bot.errors import LookAheadError


def told_by(forecaster: Forecaster, tape: Tape, history: History, *, known_too: bool = False) -> Tape:
    """`tape`, a market over `history`, with what the forecaster says: as `tape_of` over `market_days` has it.

    `known_too` takes forecasts of sessions that the model may know, too: for scores that are marked so.

    Raises:
        LookAheadError: a stored forecast is not as of its session, or its model was trained after it.
    """
    tables = untold(tape.close_x100.shape)
    column = {symbol: place for place, symbol in enumerate(tape.symbols)}
    if isinstance(forecaster, Naive):
        tables["target_x100"] = np.ascontiguousarray(np.where(tape.traded == 1, tape.close_x100, 0))
    for row, session in enumerate(tape.sessions):
        if isinstance(forecaster, Stored):
            told = forecaster.by_session.get(session, {})
        elif isinstance(forecaster, Naive):
            told = {}
        else:
            told = forecaster.forecasts(history.after(session))
        for symbol, one in told.items():
            if one.as_of != session or (one.trained_until > session and not known_too):
                raise LookAheadError(
                    f"{symbol}: {one.model}, trained until {one.trained_until}, as of {one.as_of}, in the decision of "
                    f"{session}"
                )
            place = column.get(symbol)
            if place is not None and tape.traded[row, place]:
                tell(tables, (row, place), one)
        for symbol, mood in forecaster.sentiment_bps(session).items():
            if symbol in column:
                tables["sentiment_bps"][row, column[symbol]] = mood
    return replace(tape, **tables)
