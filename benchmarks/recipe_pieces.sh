#!/usr/bin/env bash
# Measure each piece of the strong recipe, and each form of the network, on unseen drives:
#   benchmarks/recipe_pieces.sh SHARED_DATA OUT      (in the environment of `make python`; hours on a CPU)
# The CamVid drive 0001TP and the second half of each category of the KITTI consensus frames are held out.
set -euo pipefail
data=$1 out=$2
held_out=(--hold-out 0001TP --val-fraction 0.5)
common=(
    --data "$data/camvid=0.2" "$data/idd20k_lite=0.3" "$data/kitti_road_consensus=0.15"
    "${held_out[@]}" --encoder vgg16_bn --batch 8 --crop 128x192 --encoder-rate 1
)

run() {
    local name=$1 steps=$2
    shift 2
    python -m fcn_road_seg train "${common[@]}" --rendered 120=0.35 --learning-rate 5e-4 \
        --steps "$steps" --val-every "$steps" --out "$out/$name" "$@"
    python -m fcn_road_seg evaluate --data "$data/camvid" "$data/kitti_road_consensus" "${held_out[@]}" \
        --stress --precision bfloat16 --checkpoint "$out/$name/road_fcn.safetensors" \
        --out "$out/$name/evaluation"
}

# The common start of all runs: early in a training, where pieces still make a difference.
python -m fcn_road_seg train "${common[@]}" --rendered 800=0.35 --weights none --batch 6 --crop 192x320 \
    --without ema smoothing stretch style shadows occluders blur --steps 1000 --val-every 1000 --out "$out/base"
base="$out/base/best.ckpt"
run full 200 --weights "$base"
for piece in style shadows light blur occluders zoom stretch ema dice smoothing; do
    run "no-$piece" 200 --weights "$base" --without "$piece"
done

# Only the encoder continues; the decoders are new.
python - "$base" "$out/encoder.pth" <<'PY'
import sys
import torch
state = torch.load(sys.argv[1], map_location='cpu', weights_only=True)['state_dict']
prefix = 'net.encoder.'
torch.save({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}, sys.argv[2])
PY
run fcn8 200 --weights "$out/encoder.pth"
run fcn8-scaled 200 --weights "$out/encoder.pth" --skip-scales 0.01 0.001
run fcn16 200 --weights "$out/encoder.pth" --fcn 16
run fcn32 200 --weights "$out/encoder.pth" --fcn 32
