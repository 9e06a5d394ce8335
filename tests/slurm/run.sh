#!/bin/bash
# A study of twelve runs, a training and two predictions as jobs of a real Slurm of one node, which this script sets up
# and takes down: munge and Slurm as Debian packs them (slurm-wlm, munge), started by hand, without systemd, accounts or
# cgroups, in a folder of its own that is removed. Needs root and two cores; takes a few minutes.
#
#     tests/slurm/run.sh [PYTHON]     # of an environment with rgbx[slurm]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${1:-python}
rgbx() { "$python" -m rgbx "$@"; }
export PYTHONPATH="$here/../..${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1
for program in slurmctld slurmd munged sbatch "$python"; do
    command -v "$program" >/dev/null || { echo "$program is not installed: apt-get install slurm-wlm munge"; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "needs root, for slurmd"; exit 2; }

place=$(mktemp -d)
chmod 755 "$place"
take_down() {
    scancel --state=RUNNING 2>/dev/null || true
    scancel --state=PENDING 2>/dev/null || true
    for name in slurmd slurmctld munged; do
        [ -f "$place/$name.pid" ] && kill "$(cat "$place/$name.pid")" 2>/dev/null || true
    done
    sleep 1
    [ -n "${KEEP:-}" ] && echo "kept: $place" || rm -rf "$place"
}
trap take_down EXIT

mkdir -p "$place"/{munge,state,spool,work}
chmod 700 "$place/munge"
dd if=/dev/urandom of="$place/munge/key" bs=1 count=1024 status=none
chmod 400 "$place/munge/key"
munged --force --key-file="$place/munge/key" --socket="$place/munge/socket" --pid-file="$place/munged.pid" \
    --log-file="$place/munge/log" --seed-file="$place/munge/seed"
memory=$(awk '/MemAvailable/ {print int($2 / 1024 * 0.8)}' /proc/meminfo)
cat >"$place/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$place/munge/socket
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=requeue_delay=1,sched_interval=2
JobRequeue=1
KillWait=10
MinJobAge=5
ReturnToService=2
MpiDefault=none
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=2 RealMemory=$memory State=UNKNOWN
PartitionName=all Nodes=$(hostname -s) Default=YES MaxTime=60 State=UP
CONF
export SLURM_CONF="$place/slurm.conf"
slurmctld
slurmd
for _ in $(seq 30); do
    sinfo --noheader --format=%t 2>/dev/null | grep -q idle && break
    sleep 1
done
sinfo

cd "$place/work"
wait_for() { # until a command succeeds: SECONDS COMMAND ...
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "waited in vain for: $*"; squeue; tail -n 20 -- *.txt ./*/jobs/*.out; exit 1; }
        sleep 0.2
    done
}
worker_of() { # the process of submitit that carries out a job
    pgrep --full "submitit.core._submit" | while read -r pid; do
        tr '\0' '\n' <"/proc/$pid/environ" | grep -qx "SLURM_ARRAY_TASK_ID=$1" && echo "$pid" && break
    done
}
is_training() { [ -n "$(worker_of "$1")" ] && grep -q "epoch" "$2/log.txt"; }
parameters=(--cluster slurm --slurm cpus_per_task=1 mem_gb=1.5 timeout_min=20 signal_delay_s=30)

rgbx render-rooms rooms --size 40x64 --train 4 --val 4 --test 4 >/dev/null
echo "== a study of twelve runs by Slurm; one job is killed, another one preempted"
rgbx study "$here/study.py" --data-root rooms --work-dir there --no-latency --device cpu \
    --executor submitit "${parameters[@]}" >there.txt 2>&1 &
study=$!
wait_for 300 is_training 0 there/asymmetric/seed_0
kill -9 "$(worker_of 0)"
wait_for 300 is_training 1 there/no_fusion/seed_0
scancel --signal=USR2 "$(squeue --noheader --array --format=%i | grep "_1$")" || true # it may ask again once it has been heard
wait $study || { cat there.txt; exit 1; }
cat there.txt
grep -q "was killed or put off; it is submitted again" there.txt
grep -q "Requeued job" there/jobs/*_1_0_log.*
cat >compare.py <<'PYTHON'
import csv, sys
def scores(path):
    rows = list(csv.DictReader(open(path)))
    kept = [name for name in rows[0] if name in ("method", "seed", "state") or name.startswith(("mIoU", "flops", "parameters"))]
    assert any(name.startswith("mIoU") for name in kept), rows[0]
    return [[row[name] for name in kept] for row in rows]
one, other = map(scores, sys.argv[1:])
assert len(one) == 12 and one == other, (one, other)
print(f"{len(one)} runs, the same table")
PYTHON
echo "== the same on this machine"
rgbx study "$here/study.py" --data-root rooms --work-dir here --jobs 2 --no-latency --device cpu | tee here.txt | tail -5

"$python" compare.py here/study.csv there/study.csv

echo "== a training that is preempted"
config="$here/../../configs/rooms/asymfusion_r18_rooms_160x120.py"
tiny=(--cfg-options model.backbone=test_resnet.r160_in1k model.pretrained=None model.decoder.width=8
    train_cfg.max_epochs=60 train_cfg.val_interval=60 train_dataloader.batch_size=2
    train_dataloader.num_workers=0 val_dataloader.num_workers=0
    train_dataloader.persistent_workers=False val_dataloader.persistent_workers=False
    train_dataloader.dataset.num_frames=4 val_dataloader.dataset.num_frames=4 test_dataloader.dataset.num_frames=4
    train_dataloader.dataset.size="(40,64)" val_dataloader.dataset.size="(40,64)" test_dataloader.dataset.size="(40,64)")
rgbx submit "${parameters[@]}" --wait --device cpu -- train "$config" --data-root rooms --work-dir trained "${tiny[@]}" \
    >submit.txt 2>&1 &
submit=$!
wait_for 300 test -f trained/last_checkpoint
scancel --signal=USR2 "$(squeue --noheader --format=%i)" || true
wait $submit || { cat submit.txt work_dirs/jobs/*; exit 1; }
cat submit.txt
grep -q "Requeued job" work_dirs/jobs/*_log.*
grep -qi "resum" work_dirs/jobs/*_log.*
[ -f trained/epoch_60.pth ]

echo "== predictions as an array of two"
rgbx submit "${parameters[@]}" --wait --array 2 --device cpu -- predict trained rooms --out predicted
ls predicted
[ "$(find predicted/labels -type f | wc -l)" = 4 ] || { find predicted; exit 1; }
echo "All as expected."
