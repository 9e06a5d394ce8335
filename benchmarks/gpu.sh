#!/usr/bin/env bash
# All that needs a GPU, in steps of at most ten minutes each. Run it again to go on where it stopped.
#
#   RGBX_NYUV2=/path/to/nyuv2_320x240 RGBX_WEIGHTS=/path/to/resnet18.pth benchmarks/gpu.sh OUT [STEP ...]
#
# OUT receives checkpoints, tables and logs. Steps: build tests folder sanitize ops ops-compiled rooms nyuv2 nyuv2-test
# study-nyuv2 study-translate-rgb study-translate-depth translate-fp16 metrics (all by default). "sanitize" needs
# compute-sanitizer on the PATH or in COMPUTE_SANITIZER; "translate-fp16" scales the gradients of two optimizers.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:?usage: benchmarks/gpu.sh OUT [STEP ...]}
shift
[ $# -gt 0 ] || set -- build tests folder sanitize ops ops-compiled rooms nyuv2 nyuv2-test study-nyuv2 \
    study-translate-rgb study-translate-depth translate-fp16 metrics
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
mkdir -p "$out"
"$python" -c 'import torch; raise SystemExit(not torch.cuda.is_available() and "no CUDA device: nothing to do")' || exit 1

nyuv2=(configs/nyudv2/asymfusion_r18_nyudv2_320x240.py)
fp16=(configs/rooms/translate_depth_thermal_rgb_rooms_128x128.py)

study_translation() {
    "$python" tools/study.py "configs/studies/$1.py" --data-root "${RGBX_NYUV2:?}" --dtype bfloat16 --jobs 3 \
        --work-dir "$out/study_$1" --out "$out"
}

step() {
    case $1 in
    build) RGBX_BUILD_CUDA=1 "$python" -m rgbx.ops build && "$python" -m rgbx.ops ;;
    tests)
        RGBX_REQUIRE_KERNELS=cpu,cuda "$python" -m pytest -q tests/ops tests/layers tests/fusion tests/backbones \
            tests/objectives tests/models tests/evaluate tests/train tests/profile
        ;;
    folder)  # planned, trained and used on the GPU; class ids as a CPU has them
        [ -f "$out/folder/config.py" ] || "$python" -m rgbx init "${RGBX_NYUV2:?}" --budget 2min \
            --pretrained "${RGBX_WEIGHTS:-none}" --work-dir "$out/folder" || return
        "$python" -m rgbx train "$out/folder/config.py" --resume &&
            for device in cuda cpu; do
                "$python" -m rgbx predict "$out/folder" "$RGBX_NYUV2" --device "$device" --save ids --overwrite \
                    --batch-size 8 --out "$out/folder/$device" || return
            done && "$python" - "$out/folder" <<'PYTHON'
import sys
from pathlib import Path

import cv2

pairs = [(cv2.imread(str(path), -1), cv2.imread(str(Path(sys.argv[1], "cpu/labels", path.name)), -1))
         for path in sorted(Path(sys.argv[1], "cuda/labels").glob("*.png"))]
same = sum((a == b).mean() for a, b in pairs) / len(pairs)
print(f"{len(pairs)} frames: {100 * same:.4f} % of the pixels have the class that the CPU gives them")
raise SystemExit(same < 0.999)
PYTHON
        ;;
    sanitize)
        export RGBX_REQUIRE_KERNELS=cuda PYTORCH_NO_CUDA_MEMORY_CACHING=1
        for tool in memcheck initcheck; do  # the kernels share no memory between threads: no races to look for
            "${COMPUTE_SANITIZER:-compute-sanitizer}" --tool "$tool" --error-exitcode 9 "$python" -m pytest -q -x \
                -p no:cacheprovider tests/ops/test_kernels.py -k "cuda or streams" || return
        done
        ;;
    ops)
        "$python" benchmarks/ops.py --device cuda --sizes 480x640 1024x2048 --batches 1 8 --dtypes float32 bfloat16 \
            --seconds 0.5 --out "$out/ops_cuda.md"
        ;;
    ops-compiled)
        "$python" benchmarks/ops.py --device cuda --sizes 480x640 1024x2048 --batches 8 --stages 1 3 \
            --dtypes float32 bfloat16 --compiled --seconds 0.5 --out "$out/ops_cuda_compiled.md"
        ;;
    rooms) "$python" benchmarks/fusion_rooms.py --jobs 2 --work-dir "$out/rooms" --out "$out/fusion_rooms.md" ;;
    nyuv2)
        "$python" tools/train.py "${nyuv2[@]}" --data-root "${RGBX_NYUV2:?}" --work-dir "$out/nyuv2" --resume \
            --cfg-options model.pretrained="${RGBX_WEIGHTS:-timm}" optim_wrapper.dtype=bfloat16
        ;;
    nyuv2-test)
        "$python" tools/test.py "${nyuv2[@]}" "$out/nyuv2" --data-root "${RGBX_NYUV2:?}" \
            --modalities rgb depth rgb+depth --json "$out/nyuv2.json"
        ;;
    study-nyuv2)
        "$python" tools/study.py configs/studies/nyudv2_320x240.py --data-root "${RGBX_NYUV2:?}" --dtype bfloat16 \
            --jobs 3 --work-dir "$out/study_nyuv2" --out "$out" --cfg-options model.pretrained="${RGBX_WEIGHTS:-timm}"
        ;;
    study-translate-rgb) study_translation translate_nyudv2_320x240 ;;
    study-translate-depth) study_translation translate_nyudv2_320x240_depth ;;
    translate-fp16)
        "$python" tools/render_rooms.py "$out/rooms_128x128_class" --size 128x128 --paints class --train 1200 --workers 8 &&
            "$python" tools/train.py "${fp16[@]}" --data-root "$out/rooms_128x128_class" --resume \
                --work-dir "$out/translate_fp16" --cfg-options optim_wrapper.dtype=float16 train_cfg.max_epochs=2 train_cfg.val_interval=2
        ;;
    metrics) "$python" benchmarks/metrics.py --device cuda --out "$out/metrics_cuda.md" ;;
    *) echo "unknown step $1" >&2 && return 2 ;;
    esac
}

for name in "$@"; do
    echo "== $name"
    SECONDS=0
    (step "$name") >"$out/$name.log" 2>&1 &
    while kill -0 $! 2>/dev/null && [ "$SECONDS" -lt 570 ]; do sleep 1; done
    if kill -0 $! 2>/dev/null; then
        pkill -INT -P $! || true
        wait $! || true
        echo "   not finished after $SECONDS s: run it again to go on"
    elif wait $!; then
        echo "   done in $SECONDS s"
    else
        echo "   FAILED, see $out/$name.log"
    fi
    tail -n 5 "$out/$name.log"
done
