#!/usr/bin/env bash
# All that needs a GPU, in commands of at most nine minutes each, the most telling steps first.
#
#   benchmarks/gpu.sh OUT              # the kernels: torch, numpy and pytest are enough
#   benchmarks/gpu.sh OUT training     # whole networks, and one trained on a subset of frames
#   benchmarks/gpu.sh OUT long         # tables of many trainings; again and again until all is done
#   benchmarks/gpu.sh OUT STEP ...     # steps by name
#
# OUT receives checkpoints, tables, logs, and a file STEP....done of each step that is done, which is not done again. It ends
# with 0 when all is done, 75 where there is more to do, 1 where a step failed. Trainings need
# all of rgbx, RGBX_NYUV2=/path/to/nyuv2_320x240 and RGBX_WEIGHTS=/path/to/resnet18.pth. "memcheck" needs compute-sanitizer
# on the PATH or in COMPUTE_SANITIZER. RGBX_GPU_SECONDS is the limit of one command (540). RGBX_GPU_DRY=1 goes through the
# kernels' steps on a CPU, with less of everything.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:?usage: benchmarks/gpu.sh OUT [kernels|training|long|STEP ...]}
shift
steps=()
for name in "${@:-kernels}"; do
    case $name in
    kernels) steps+=(build probe tests ops tail ops-compiled memcheck) ;;
    training) steps+=(end-to-end folder) ;;
    long) steps+=(rooms nyuv2 nyuv2-test study-nyuv2 study-translate-rgb study-translate-depth translate-fp16 metrics) ;;
    *) steps+=("$name") ;;
    esac
done
limit=${RGBX_GPU_SECONDS:-540}
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
mkdir -p "$out"
if [ "${RGBX_GPU_DRY:-0}" = 1 ]; then
    device=cpu
else
    device=cuda
    "$python" -c 'import torch; raise SystemExit(not torch.cuda.is_available() and "no CUDA device: nothing to do")' || exit 1
fi

nyuv2=(configs/nyudv2/asymfusion_r18_nyudv2_320x240.py)
fp16=(configs/rooms/translate_depth_thermal_rgb_rooms_128x128.py)

study_translation() {
    "$python" tools/study.py "configs/studies/$1.py" --data-root "${RGBX_NYUV2:?}" --dtype bfloat16 --jobs 3 \
        --work-dir "$out/study_$1" --out "$out"
}

# Two shapes that tell most: rows that fit vectors, and odd planes.
exchange() {
    local shapes=(--sizes 480x640 500x500 --batches 8 --stages 1 --dtypes float32 bfloat16 --seconds 0.3)
    [ "$device" = cuda ] || shapes=(--sizes 64x64 --batches 1 --stages 1 --dtypes float32 --seconds 0.01)
    "$python" benchmarks/ops.py --device "$device" "${shapes[@]}" "$@"
}

step() {
    case $1 in
    build)  # for this GPU alone; what is there and fits is kept
        if [ "$device" = cuda ]; then
            export RGBX_BUILD_CUDA=1
            TORCH_CUDA_ARCH_LIST=$("$python" -c 'import torch; print("%d.%d" % torch.cuda.get_device_capability())') || return
            export TORCH_CUDA_ARCH_LIST
        else
            export RGBX_BUILD_CUDA=0
        fi
        "$python" benchmarks/probe.py --device "$device" >/dev/null 2>&1 || "$python" -m rgbx.ops build || return
        "$python" -m rgbx.ops
        ;;
    probe) "$python" benchmarks/probe.py --device "$device" ;;
    tests)
        local chosen=(tests/ops)
        [ "$device" = cuda ] || chosen=(tests/ops/test_kernels.py -k "cpu and not equals")
        RGBX_REQUIRE_KERNELS=$device "$python" -m pytest -q -p no:cacheprovider "${chosen[@]}"
        ;;
    ops) exchange --out "$out/ops_$device.md" ;;
    tail)  # class ids of resized logits; the page of a CPU takes minutes
        if [ "$device" = cuda ]; then
            "$python" benchmarks/tail.py --device cuda --out "$out/tail_cuda.md"
        else
            "$python" benchmarks/tail.py --help >/dev/null
        fi
        ;;
    ops-compiled)
        local how=(--compiled)
        [ "$device" = cuda ] || how=()  # minutes on a CPU
        exchange --dtypes bfloat16 "${how[@]}" --out "$out/ops_${device}_compiled.md"
        ;;
    memcheck)  # the kernels share no memory between threads: there are no races to look for
        local check=("${COMPUTE_SANITIZER:-compute-sanitizer}" --tool memcheck --error-exitcode 9)
        [ "$device" = cuda ] || check=()
        PYTORCH_NO_CUDA_MEMORY_CACHING=1 "${check[@]}" "$python" benchmarks/probe.py --device "$device"
        ;;
    ops-all)
        "$python" benchmarks/ops.py --device cuda --sizes 480x640 1024x2048 --batches 1 8 --dtypes float32 bfloat16 \
            --seconds 0.5 --out "$out/ops_cuda_all.md"
        ;;
    tests-all)
        RGBX_REQUIRE_KERNELS=cpu,cuda "$python" -m pytest -q tests/ops tests/layers tests/fusion tests/backbones \
            tests/objectives tests/models tests/evaluate tests/train tests/profile
        ;;
    end-to-end)
        "$python" benchmarks/end_to_end.py --device "$device" --sizes 480x640 --budget 240 \
            --json "$out/end_to_end.json" --page "$out/end_to_end.md"
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

# What is done is done on this kind of device, and kernels' steps with these sources.
sources=$(cat rgbx/ops/csrc/* rgbx/ops/*.py | sha256sum | cut -c1-12)
began=$SECONDS code=0
for name in "${steps[@]}"; do
    mark=$out/$name.$device.done
    case $name in build | probe | tests | ops | tail | ops-compiled | memcheck) mark=$out/$name.$device.$sources.done ;; esac
    if [ -f "$mark" ]; then
        echo "== $name: done before, see $out/$name.log"
        continue
    fi
    left=$((limit - (SECONDS - began)))
    if [ "$left" -lt 10 ]; then
        echo "== $name: no time left, run it again to go on"
        code=75
        continue
    fi
    echo "== $name"
    start=$SECONDS
    (step "$name") >"$out/$name.log" 2>&1 &
    while kill -0 $! 2>/dev/null && [ $((SECONDS - start)) -lt "$left" ]; do sleep 1; done
    if kill -0 $! 2>/dev/null; then
        pkill -INT -P $! || true
        wait $! || true
        echo "   not finished after $((SECONDS - start)) s: run it again to go on"
        [ "$code" = 1 ] || code=75
    elif wait $!; then
        touch "$mark"
        echo "   done in $((SECONDS - start)) s"
    else
        echo "   FAILED, see $out/$name.log"
        code=1
    fi
    tail -n 5 "$out/$name.log"
done
exit $code
