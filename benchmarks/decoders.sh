#!/bin/sh
# SmolLM2 as a victim: first eight layers, real SST-2, with an adapter and with all weights. Goes on
# where it stopped. Needs the extra `lm` and BEDKD_DATA_DIR; on two CPU cores plan for hours.
# Memory: commands without and with a preset are processes of their own, so that training a victim
# does not count as growth of the defence.
set -e
export ACCELERATE_MIXED_PRECISION="${ACCELERATE_MIXED_PRECISION:-bf16}"
for how in "--lora 16 --lr 1e-3" "--lr 1e-4"; do
    for attack in badnets addsent; do
        for preset in "" "--preset cycles-quick"; do
            # shellcheck disable=SC2086
            python -m bedkd reproduce --dataset sst2 --attack $attack --backbone smollm2 --layers 8 \
                --pool 2000 --test-rows 600 --epochs 3 $how $preset --output results/decoders
        done
    done
done
