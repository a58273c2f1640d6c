#!/usr/bin/env bash
# How fast: the owner's own way, unsloth and ours on one GPU in one run, then ours on one GPU and on all of them.
# Needs CUDA and the extra `gpu` for the peers. Speed does not depend on the weights, so random ones of Llama-3.2-3B's
# shape are used and nothing is fetched.
set -euo pipefail
cd "$(dirname "$0")/../.."

PYTHON=${PYTHON:-python}
GPUS=${GPUS:-$(nvidia-smi --list-gpus | wc -l)}

"$PYTHON" benchmarks/train_gpu.py one
for COUNT in 1 "$GPUS"; do
  "$PYTHON" -m torch.distributed.run --nproc-per-node "$COUNT" benchmarks/train_gpu.py scale
done
