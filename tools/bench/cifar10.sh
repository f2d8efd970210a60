#!/usr/bin/env bash
# The CIFAR-10 ResNet-20 recipes: prune -> lora -> distill -> INT8, and INT8 alone, scripted and traced.
#   tools/bench/cifar10.sh EDGECOMPRESS SHARED OUTPUT
# SHARED holds models/cifar10_resnet20_{scripted,traced}.pt, data/cifar10_train_4660.npz and cifar10_test_932.npz.
set -euo pipefail
edgecompress=$(realpath "$1") shared=$(realpath "$2") output=$3
here=$(realpath "$(dirname "$0")")

for kind in scripted traced; do
  common=(--model "$shared/models/cifar10_resnet20_$kind.pt" --overwrite
    --set "data/train/path=\"$shared/data/cifar10_train_4660.npz\""
    --set "data/test/path=\"$shared/data/cifar10_test_932.npz\"")
  "$edgecompress" run --no-cache "$here/cifar10.json" "${common[@]}" --output "$output/$kind" || [ $? = 7 ]
  "$edgecompress" run --no-cache "$here/cifar10.json" "${common[@]}" --output "$output/$kind-int8" \
    --set 'passes=[{"pass": "quantize_int8", "mode": "static"}]' || [ $? = 7 ]
done
