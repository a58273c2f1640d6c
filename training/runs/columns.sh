#!/usr/bin/env bash
# The column study: does a model forecast better when it is told closes alone, all four prices, or the volume too?
# The same windows three times, drawn with the same seed; the answer always has four prices.
set -euo pipefail
cd "$(dirname "$0")/../.."

DATA=${DATA:-../shared/data/prices}
OUT=${OUT:-runs/columns}
MODEL=${MODEL:-smollm2-135m}
WINDOW=${WINDOW:-20:5}
MOST=${MOST:-20000}           # windows to learn from
STEPS=${STEPS:-0}             # 0: two epochs
QUESTIONS=${QUESTIONS:-2000}  # asked about days that none of them can know
CUT=${CUT:-2024-06-28} VALID=${VALID:-2024-10-31}
STEADY=${STEADY:-0}

for COLUMNS_TOLD in close close,open,high,low close,open,high,low,volume; do
  NAME=${COLUMNS_TOLD//,/-}

  [ -d "$OUT/data-$NAME" ] || twtrader train dataset --out "$OUT/data-$NAME" --data "$DATA" --windows "$WINDOW" \
    --columns "$COLUMNS_TOLD" --most "$MOST" --cut "$CUT" --valid-until "$VALID"

  [ -d "$OUT/$NAME/adapter" ] || twtrader train sft "$OUT/data-$NAME" --out "$OUT/$NAME" --model "$MODEL" \
    --epochs 2 --batch 64 --learning-rate 2e-4 --max-steps "$STEPS"

  [ -f "$OUT/scores/$NAME/evaluation.json" ] || twtrader train evaluate --adapter "$OUT/$NAME/adapter" --base "$MODEL" \
    --data "$DATA" --past "${WINDOW%:*}" --future "${WINDOW#*:}" --questions "$QUESTIONS" --steady "$STEADY" \
    --no-baselines --out "$OUT/scores/$NAME"
done

twtrader train table "$OUT/scores/close" "$OUT/scores/open-high-low-close" "$OUT/scores/open-high-low-close-volume"
