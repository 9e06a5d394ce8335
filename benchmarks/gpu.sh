#!/usr/bin/env bash
# All that needs a GPU, in steps of at most ten minutes each. Run it again to go on where it stopped.
#
#   RGBX_NYUV2=/path/to/nyuv2_320x240 RGBX_WEIGHTS=/path/to/resnet18.pth benchmarks/gpu.sh OUT [STEP ...]
#
# OUT receives checkpoints, tables and logs. Steps: tests rooms nyuv2 nyuv2-test (all by default).
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:?usage: benchmarks/gpu.sh OUT [STEP ...]}
shift
[ $# -gt 0 ] || set -- tests rooms nyuv2 nyuv2-test
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
mkdir -p "$out"
"$python" -c 'import torch; raise SystemExit(not torch.cuda.is_available() and "no CUDA device: nothing to do")' || exit 1

nyuv2=(configs/nyudv2/asymfusion_r18_nyudv2_320x240.py)

step() {
    case $1 in
    tests) "$python" -m pytest -q tests/ops tests/layers tests/models tests/engine ;;
    rooms) "$python" benchmarks/fusion_rooms.py --jobs 2 --work-dir "$out/rooms" --out "$out/fusion_rooms.md" ;;
    nyuv2)
        "$python" tools/train.py "${nyuv2[@]}" --data-root "${RGBX_NYUV2:?}" --work-dir "$out/nyuv2" --resume \
            --cfg-options model.pretrained="${RGBX_WEIGHTS:-timm}" optim_wrapper.dtype=bfloat16
        ;;
    nyuv2-test)
        "$python" tools/test.py "${nyuv2[@]}" "$out/nyuv2" --data-root "${RGBX_NYUV2:?}" \
            --modalities rgb depth rgb+depth --json "$out/nyuv2.json"
        ;;
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
