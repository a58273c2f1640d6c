#!/usr/bin/env bash
# The sentiment table: FPB (published split), TFNS and FiQA, weighted F1. An adapter for each, and one for all three.
#
# To compare with (weighted F1, FPB / TFNS / FiQA): GPT-4 0.833 / 0.808 / 0.630, the best published 13B adapter
# 0.882 / 0.903 / 0.874. The recipes are those that training/LOG.md came to: FPB after two epochs of TFNS, and the mean of
# eight seeds; FiQA, which has few neutral texts, with those of the others that are not. No text of any of these test sides
# is learned. Texts are asked tidied (bot/core/typography.py), as live: no step here does that.
set -euo pipefail
cd "$(dirname "$0")/../.."

TEXTS=${TEXTS:-../shared/data/sentiment}  # the folder with the three corpora
OUT=${OUT:-runs/sentiment}
MODEL=${MODEL:-smollm2-135m}
SEEDS=${SEEDS:-8}   # fine-tunes on FPB, two at least, whose mean is the FPB adapter
STEPS=${STEPS:-0}   # 0: as many as the epochs have
STEADY=${STEADY:-200}

[ -d "$OUT/data-tfns" ] || twtrader train dataset --out "$OUT/data-tfns" --windows "" --corpora tfns \
  --texts "$TEXTS" --valid-share 0.01
[ -d "$OUT/tfns/adapter" ] || twtrader train sft "$OUT/data-tfns" --out "$OUT/tfns" --model "$MODEL" --engine fused \
  --epochs 2 --batch 32 --learning-rate 5e-4 --keep last --max-steps "$STEPS"

[ -d "$OUT/data-fpb" ] || twtrader train dataset --out "$OUT/data-fpb" --windows "" --corpora fpb \
  --texts "$TEXTS" --valid-share 0.01
ALIKE=()
for SEED in $(seq "$SEEDS"); do
  [ -d "$OUT/fpb-$SEED/adapter" ] || twtrader train sft "$OUT/data-fpb" --out "$OUT/fpb-$SEED" --model "$MODEL" \
    --engine fused --start "$OUT/tfns/adapter" --seed "$SEED" --epochs 5 --batch 32 --learning-rate 5e-4 \
    --keep last --max-steps "$STEPS"
  ALIKE+=("$OUT/fpb-$SEED/adapter")
done
[ -d "$OUT/fpb/adapter" ] || twtrader train average "${ALIKE[@]}" --out "$OUT/fpb/adapter"

[ -d "$OUT/data-fiqa" ] || twtrader train dataset --out "$OUT/data-fiqa" --windows "" --corpora "fiqa*2,fpb-,tfns-" \
  --texts "$TEXTS" --valid-share 0.01
[ -d "$OUT/fiqa/adapter" ] || twtrader train sft "$OUT/data-fiqa" --out "$OUT/fiqa" --model "$MODEL" --engine fused \
  --epochs 4 --batch 32 --learning-rate 5e-4 --keep last --max-steps "$STEPS"

[ -d "$OUT/data-all" ] || twtrader train dataset --out "$OUT/data-all" --windows "" --corpora "fpb,tfns,fiqa*4" \
  --texts "$TEXTS" --valid-share 0.01
[ -d "$OUT/all/adapter" ] || twtrader train sft "$OUT/data-all" --out "$OUT/all" --model "$MODEL" --engine fused \
  --epochs 3 --batch 32 --learning-rate 5e-4 --keep last --max-steps "$STEPS"

# Each adapter is asked all three test sides: what it learned of one helps another, or harms it.
for NAME in fpb tfns fiqa all; do
  [ -f "$OUT/scores/$NAME/evaluation.json" ] || twtrader train evaluate --adapter "$OUT/$NAME/adapter" --base "$MODEL" \
    --corpus fpb --corpus tfns --corpus fiqa --corpus hard --texts "$TEXTS" --steady "$STEADY" --out "$OUT/scores/$NAME"
done

twtrader train table "$OUT/scores/fpb" "$OUT/scores/tfns" "$OUT/scores/fiqa" "$OUT/scores/all" --only weighted_f1
