#!/usr/bin/env bash
# The weekly question-and-analysis adapter: what is known of a stock's week, then positive developments, potential
# concerns, and a prediction of the next week's move. Base and tuned answers side by side, with what came true.
#
# Without TEACHER the answers to learn are the move's label alone. With one (a file of `twtrader train teacher analyses`,
# which is never told what came after) they have the two lists and the reasons too.
set -euo pipefail
cd "$(dirname "$0")/../.."

DATA=${DATA:-../shared/data/prices}
NEWS=${NEWS:-../shared/data/news}
TEACHER=${TEACHER:-}
OUT=${OUT:-runs/weekly}
MODEL=${MODEL:-smollm2-135m}
STEPS=${STEPS:-0}            # 0: three epochs
QUESTIONS=${QUESTIONS:-20}   # answered side by side
CUT=${CUT:-2024-06-28} VALID=${VALID:-2024-10-31}
MAX_LENGTH=${MAX_LENGTH:-1536} TOKENS=${TOKENS:-300}  # of an example; of a free answer

[ -d "$OUT/data" ] || twtrader train dataset --out "$OUT/data" --data "$DATA" --windows "" --analysis \
  --headlines "$NEWS" --cut "$CUT" --valid-until "$VALID" ${TEACHER:+--teacher "$TEACHER"}

[ -d "$OUT/weekly/adapter" ] || twtrader train sft "$OUT/data" --out "$OUT/weekly" --model "$MODEL" \
  --max-length "$MAX_LENGTH" --epochs 3 --batch 16 --learning-rate 2e-4 --patience 3 --evals-per-epoch 2 --max-steps "$STEPS"

twtrader train answers --adapter "$OUT/weekly/adapter" --dataset "$OUT/data" --base "$MODEL" --count "$QUESTIONS" \
  --tokens "$TOKENS"
