"""The migration that keeps answers by the question they answer; they were kept by stock and session."""

from __future__ import annotations

from datetime import date
from typing import Any

from bot.adapters.asked_questions import price_grid, unhashed


def migrate_answers(db: Any) -> None:
    """Answers by what was asked, and beside them for what they count; every answer of the old table is carried over."""
    old = list(db["forecasts"].rows)
    db["forecasts"].drop()
    db["answers"].create(
        {"id": int, "model": str, "question": str, "future_sessions": int, "grid": str, "prompt_sha256": str,
         "past_sessions": int, "masked": int, "trained_until": str, "bars": str, "bands": str, "p_up": float,
         "tokens": int, "seconds": float, "made_at": str},
        pk="id", strict=True,
        not_null={"model", "question", "future_sessions", "grid", "prompt_sha256", "past_sessions", "masked",
                  "trained_until", "bars", "bands", "tokens", "seconds", "made_at"},
    )  # fmt: skip
    db["answers"].create_index(["model", "question", "future_sessions", "grid"], unique=True)
    db["forecasts"].create(
        {"symbol": str, "as_of": str, "asked_by": str, "answer": int, "asked_at": str, "superseded_at": str,
         "close_x100": int},
        pk=("symbol", "as_of", "asked_by", "answer"), strict=True, not_null={"asked_at"},
        foreign_keys=[("answer", "answers", "id")],
    )  # fmt: skip
    db["forecasts"].create_index(["as_of"])
    for number, row in enumerate(old, start=1):
        as_of = date.fromisoformat(row["as_of"])
        # The stock and session themselves name the question where two rows would share a hash: nothing is lost.
        own = unhashed(row["symbol"], as_of, row["past_sessions"])
        grid = price_grid(row["symbol"], as_of)
        words = [row["model"], row["prompt_sha256"], row["future_sessions"], grid]
        taken = db["answers"].count_where("model = ? and question = ? and future_sessions = ? and grid = ?", words)
        db["answers"].insert(
            {"id": number, "model": row["model"], "future_sessions": row["future_sessions"], "grid": grid,
             "question": own if taken or not row["prompt_sha256"] else row["prompt_sha256"],
             "prompt_sha256": row["prompt_sha256"], "past_sessions": row["past_sessions"], "masked": 0,
             "trained_until": row["trained_until"], "bars": row["bars"], "bands": "[]", "p_up": None, "tokens": 0,
             "seconds": 0.0, "made_at": row["made_at"]}
        )  # fmt: skip
        db["forecasts"].insert(
            {"symbol": row["symbol"], "as_of": row["as_of"], "asked_by": "live", "answer": number,
             "asked_at": row["made_at"], "superseded_at": None, "close_x100": None}
        )  # fmt: skip
