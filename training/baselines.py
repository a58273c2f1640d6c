"""Two models that are no LLM, on the same windows and the same cut: gradient-boosted trees and a small LSTM.

Both learn the 10, 50 and 90 % points of the log move after each session, in units of the window's own spread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backtest.forecast_quality import LEVELS, Case, View
from bot.errors import Refused
from training.price_arrays import Floats, Windows

GBM: Final = "gradient boosting"
LSTM: Final = "LSTM"
LEAST_WINDOWS: Final = 500
MOST_WINDOWS: Final = 20_000  # more were not measured to help, and take minutes
VALID_SHARE: Final = 0.1  # the newest windows of the training side tell the LSTM when to stop
HIDDEN: Final = 32
BATCH: Final = 256
MOST_EPOCHS: Final = 20
PATIENCE: Final = 3  # epochs without a better validation loss
LEARNING_RATE: Final = 2e-3


def thinned(windows: Windows, most: int = MOST_WINDOWS) -> Windows:
    """At most `most` of them, evenly over time.

    Raises:
        Refused: there are too few to learn from.
    """
    count = len(windows.keys)
    if count < LEAST_WINDOWS:
        raise Refused(f"{count} windows before the cut: the baselines need {LEAST_WINDOWS} to learn from")
    return windows if count <= most else windows.some(np.arange(most) * count // most)


def boosted(train: Windows, asked: Windows, *, seed: int) -> Floats:
    """Quantiles of `asked` by scikit-learn's histogram gradient boosting: windows x sessions x levels, log moves."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    told = np.empty((len(asked.keys), train.came.shape[1], len(LEVELS)))
    features, unknown = (_flat(one) for one in (train, asked))
    for session in range(train.came.shape[1]):
        target = train.came[:, session] / train.spread
        for place, level in enumerate(LEVELS):
            model = HistGradientBoostingRegressor(
                loss="quantile",
                quantile=level,
                max_iter=80,
                max_leaf_nodes=15,
                learning_rate=0.06,
                min_samples_leaf=40,
                early_stopping=False,
                random_state=seed,
            )
            told[:, session, place] = model.fit(features, target).predict(unknown) * asked.spread
    return np.sort(told, axis=2)


def recurrent(train: Windows, asked: Windows, *, seed: int) -> Floats:
    """Quantiles of `asked` by an LSTM of one small layer: windows x sessions x levels, log moves."""
    import torch

    torch.manual_seed(seed)
    sessions = train.came.shape[1]
    past, unknown = (torch.tensor(_scaled(one), dtype=torch.float32) for one in (train, asked))
    came = torch.tensor(train.came / train.spread[:, None], dtype=torch.float32)
    newest = int(len(past) * (1 - VALID_SHARE))
    newest -= sum(key[1] == train.keys[newest][1] for key in train.keys[:newest])  # a day is on one side only
    net = _Net(sessions)
    best = _fit(net, (past[:newest], came[:newest]), (past[newest:], came[newest:]))
    net.load_state_dict(best)
    with torch.inference_mode():
        scaled: Floats = torch.cat([net(part) for part in torch.split(unknown, 4_096)]).double().numpy()
    return np.sort(scaled * asked.spread[:, None, None], axis=2)


def with_views(cases: Iterable[Case], name: str, told: Floats, keys: Sequence[tuple[str, Any]]) -> list[Case]:
    """`cases` with what a baseline says too: `told` are its quantiles as log moves, in the order of `keys`."""
    place = {key: at for at, key in enumerate(keys)}
    done = []
    for case in cases:
        at = place.get((case.symbol, case.as_of))
        if at is None or case.horizon > told.shape[1]:
            done.append(case)
            continue
        low, middle, high = (float(case.last * np.exp(move)) for move in told[at, case.horizon - 1])
        view = View(told=middle, low=low, high=high)
        done.append(replace(case, views={**case.views, name: view}))
    return done


def _scaled(windows: Windows) -> Floats:
    """The past in units of each window's spread; volumes as they are."""
    scaled = windows.past.copy()
    scaled[:, :, :4] /= windows.spread[:, None, None]
    return scaled


def _flat(windows: Windows) -> NDArray[np.float32]:
    """One row of features a window: the scaled past and the spread itself."""
    rows = _scaled(windows).reshape(len(windows.keys), -1)
    return np.column_stack([rows, np.log(windows.spread)]).astype(np.float32)


def _Net(sessions: int) -> Any:  # noqa: N802  (torch is imported late, so the class is made late)
    import torch
    from torch import nn

    class Net(nn.Module):
        """The last state of an LSTM -> the levels of every session."""

        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(5, HIDDEN, batch_first=True)
            self.head = nn.Linear(HIDDEN, sessions * len(LEVELS))

        def forward(self, past: torch.Tensor) -> torch.Tensor:
            told: torch.Tensor = self.head(self.lstm(past)[1][0][-1])
            return told.view(-1, sessions, len(LEVELS))

    return Net()


def _fit(net: Any, train: tuple[Any, Any], valid: tuple[Any, Any]) -> dict[str, Any]:
    """The weights with the smallest loss on `valid`."""
    import torch

    levels = torch.tensor(LEVELS)

    def loss_of(past: Any, came: Any) -> Any:
        above = came[:, :, None] - net(past)
        return torch.maximum(levels * above, (levels - 1) * above).mean()

    optimiser = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
    best, least, waited = dict(net.state_dict()), float("inf"), 0
    for _ in range(MOST_EPOCHS):
        for part in torch.split(torch.randperm(len(train[0])), BATCH):
            optimiser.zero_grad()
            loss_of(train[0][part], train[1][part]).backward()
            optimiser.step()
        with torch.inference_mode():
            loss = float(loss_of(*valid))
        if loss < least:
            best, least, waited = {name: one.clone() for name, one in net.state_dict().items()}, loss, 0
        else:
            waited += 1
        if waited == PATIENCE:
            break
    return best
