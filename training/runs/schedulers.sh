#!/usr/bin/env bash
# Cosine against linear: the same windows, seed and steps, another way for the learning rate to fall.
# The loss curves are in OUT/cosine and OUT/linear (log.csv, loss.png, tb/).
set -euo pipefail
cd "$(dirname "$0")/../.."

DATA=${DATA:-../shared/data/prices}
OUT=${OUT:-runs/schedulers}
MODEL=${MODEL:-smollm2-135m}
WINDOW=${WINDOW:-5:5}
MOST=${MOST:-17325}           # windows to learn from: as many as the first study had
STEPS=${STEPS:-0}             # 0: three epochs
QUESTIONS=${QUESTIONS:-2000}
CUT=${CUT:-2024-06-28} VALID=${VALID:-2024-10-31}
STEADY=${STEADY:-0}

[ -d "$OUT/data" ] || twtrader train dataset --out "$OUT/data" --data "$DATA" --windows "$WINDOW" --most "$MOST" \
  --cut "$CUT" --valid-until "$VALID"

for SCHEDULER in cosine linear; do
  [ -d "$OUT/$SCHEDULER/adapter" ] || twtrader train sft "$OUT/data" --out "$OUT/$SCHEDULER" --model "$MODEL" \
    --scheduler "$SCHEDULER" --warmup 0.05 --epochs 3 --batch 64 --evals-per-epoch 4 --max-steps "$STEPS"

  [ -f "$OUT/scores/$SCHEDULER/evaluation.json" ] || twtrader train evaluate --adapter "$OUT/$SCHEDULER/adapter" \
    --base "$MODEL" --data "$DATA" --past "${WINDOW%:*}" --future "${WINDOW#*:}" --questions "$QUESTIONS" \
    --steady "$STEADY" --no-baselines --out "$OUT/scores/$SCHEDULER"
done

twtrader train table "$OUT/scores/cosine" "$OUT/scores/linear"
tail -n 1 "$OUT/cosine/log.csv" "$OUT/linear/log.csv"
