#!/usr/bin/env bash
# With and without news: the same windows, once with the headlines known at that hour in the question, once without.
# Learned from 2023, where there are headlines, and asked about January to March 2025, where there are some again and
# which the base can't know.
set -euo pipefail
cd "$(dirname "$0")/../.."

DATA=${DATA:-../shared/data/prices}
NEWS=${NEWS:-../shared/data/news}  # CSV files with time and title
OUT=${OUT:-runs/context}
MODEL=${MODEL:-smollm2-135m}
WINDOW=${WINDOW:-5:5}
MOST=${MOST:-20000}
STEPS=${STEPS:-0}                  # 0: two epochs
QUESTIONS=${QUESTIONS:-2000}
SINCE=${SINCE:-2023-01-03} CUT=${CUT:-2023-10-31} VALID=${VALID:-2023-12-29}
ASK_SINCE=${ASK_SINCE:-2025-01-02} ASK_UNTIL=${ASK_UNTIL:-2025-03-31}
STEADY=${STEADY:-0}

# `with` and `without` are told the same sessions; only the news lines differ.
[ -d "$OUT/data-with" ] || twtrader train dataset --out "$OUT/data-with" --data "$DATA" --windows "$WINDOW" \
  --headlines "$NEWS" --context --most "$MOST" --since "$SINCE" --cut "$CUT" --valid-until "$VALID"
[ -d "$OUT/data-without" ] || twtrader train dataset --out "$OUT/data-without" --data "$DATA" --windows "$WINDOW" \
  --most "$MOST" --since "$SINCE" --cut "$CUT" --valid-until "$VALID"

for NAME in with without; do
  [ -d "$OUT/$NAME/adapter" ] || twtrader train sft "$OUT/data-$NAME" --out "$OUT/$NAME" --model "$MODEL" \
    --max-length 1024 --epochs 2 --batch 64 --max-steps "$STEPS"
done

ASKED=(--data "$DATA" --past "${WINDOW%:*}" --future "${WINDOW#*:}" --questions "$QUESTIONS" --since "$ASK_SINCE"
  --until "$ASK_UNTIL" --steady "$STEADY" --no-baselines)
[ -f "$OUT/scores/with/evaluation.json" ] || twtrader train evaluate --adapter "$OUT/with/adapter" --base "$MODEL" \
  "${ASKED[@]}" --headlines "$NEWS" --out "$OUT/scores/with"
[ -f "$OUT/scores/without/evaluation.json" ] || twtrader train evaluate --adapter "$OUT/without/adapter" --base "$MODEL" \
  "${ASKED[@]}" --out "$OUT/scores/without"

twtrader train table "$OUT/scores/with" "$OUT/scores/without"
