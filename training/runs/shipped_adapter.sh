#!/usr/bin/env bash
# The adapter in training/adapters: headlines first, then prices with headlines, then headlines once more with some prices.
#
# A mood is one token and a window of 20 sessions 240, and the loss counts tokens: so headlines are read several times.
# Windows 5:20 and 20:20 serve all shorter ones, for the answer of five sessions is the beginning of the answer of twenty.
# An H100 takes 40 s, 250 s and 90 s. Nothing whose licence forbids passing it on goes in: no Financial PhraseBank, no FiQA.
set -euo pipefail
cd "$(dirname "$0")/../.."

DATA=${DATA:-../shared/data/prices}
TEXTS=${TEXTS:-../shared/data/sentiment}
OUT=${OUT:-runs/shipped}
MODEL=${MODEL:-smollm2-135m}
MOST=${MOST:-20000}  # windows of each kind to learn from
AGAIN=${AGAIN:-1500} # of them once more in the last stage
STEPS=${STEPS:-0}    # 0: as many as the epochs have
CUT=${CUT:-2024-06-28} VALID=${VALID:-2024-10-31}
STEADY=${STEADY:-200}
NAME=smollm2-135m-tw

PRICES=(--data "$DATA" --windows 5:20,20:20 --cut "$CUT" --valid-until "$VALID" --texts "$TEXTS")
SFT=(--model "$MODEL" --engine fused --batch 32 --keep last --max-steps "$STEPS" --max-length 700)

[ -d "$OUT/data-moods" ] || twtrader train dataset --out "$OUT/data-moods" --windows "" --corpora "tfns,own*3" --texts "$TEXTS"
[ -d "$OUT/data-prices" ] || twtrader train dataset --out "$OUT/data-prices" "${PRICES[@]}" --most "$MOST" --corpora "tfns*6,own*9"
[ -d "$OUT/data-last" ] || twtrader train dataset --out "$OUT/data-last" "${PRICES[@]}" --most "$AGAIN" --corpora "tfns*3,own*2"

[ -d "$OUT/moods/adapter" ] || twtrader train sft "$OUT/data-moods" --out "$OUT/moods" "${SFT[@]}" \
  --epochs 2 --learning-rate 5e-4
[ -d "$OUT/prices/adapter" ] || twtrader train sft "$OUT/data-prices" --out "$OUT/prices" "${SFT[@]}" \
  --start "$OUT/moods/adapter" --epochs 1 --learning-rate 3e-4
[ -d "$OUT/$NAME/adapter" ] || twtrader train sft "$OUT/data-last" --out "$OUT/$NAME" "${SFT[@]}" \
  --start "$OUT/prices/adapter" --epochs 1 --learning-rate 2e-4

# Its valid side was learned in none of the three stages. A few STEPS leave nothing to calibrate.
[ "$STEPS" != 0 ] || [ -f "$OUT/scores/evaluation.json" ] || twtrader train calibrate "$OUT/$NAME/adapter" \
  --dataset "$OUT/data-last" --base "$MODEL"

[ -f "$OUT/scores/evaluation.json" ] || twtrader train evaluate --adapter "$OUT/$NAME/adapter" --base "$MODEL" \
  --corpus tfns --corpus own --corpus hard --texts "$TEXTS" --steady "$STEADY" --out "$OUT/scores"
