#!/bin/sh
# A batch on a real Slurm: one node on loopback, brought up for this test alone, as the user who runs it.
#   slurm_cluster_test.sh EDGECOMPRESS
# Exit code 77, with the reason, where it can't be brought up.
set -u
binary=$1
folder=$(mktemp -d)
daemons=""

clean_up() {
  for daemon in $daemons; do kill "$daemon" 2>/dev/null; done
  for daemon in $daemons; do wait "$daemon" 2>/dev/null; done
  rm -rf "$folder"
}
trap clean_up EXIT

skip() {
  echo "skipped: $1"
  tail -n 20 "$folder"/*.log 2>/dev/null
  exit 77
}
fail() {
  echo "FAILED: $1"
  tail -n 30 "$folder"/*.log "$folder"/small/shards/*.log 2>/dev/null
  exit 1
}

PATH=$PATH:/usr/sbin
for command in munged slurmctld slurmd sbatch sinfo python3; do
  command -v "$command" >/dev/null || skip "$command is not installed (slurm-wlm, munge, python3)"
done

# A port that nobody listens on.
free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

user=$(id -un)
host=$(hostname -s)
mkdir -m 755 "$folder/state" "$folder/spool" "$folder/munge"
chmod 755 "$folder"
head -c 1024 /dev/urandom > "$folder/munge/key"
chmod 600 "$folder/munge/key"
cat > "$folder/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF="$folder/slurm.conf"

munged --foreground --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
  --pid-file="$folder/munge/pid" --seed-file="$folder/munge/seed" > "$folder/munged.log" 2>&1 &
daemons="$daemons $!"
slurmctld -D > "$folder/slurmctld.log" 2>&1 &
daemons="$! $daemons"
slurmd -D > "$folder/slurmd.log" 2>&1 &
daemons="$! $daemons"
tries=0
until [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ]; do
  tries=$((tries + 1))
  [ $tries -lt 60 ] || skip "no node is ready after half a minute"
  sleep 0.5
done

# One model that is good, and one that is not.
"$binary" demo --output "$folder/demo" --epochs 1 --threads 1 > "$folder/demo.log" 2>&1 || fail "demo"
mkdir "$folder/zoo"
cp "$folder/demo/model.pt" "$folder/zoo/good.pt"
echo "this is no model" > "$folder/zoo/bad.pt"
cat > "$folder/recipe.json" <<END
{"name": "slurm", "model": {"path": "none.pt", "inputs": [{"shape": [1, 3, 32, 32]}]},
 "passes": [{"pass": "fold_batch_norm"}], "evaluation": {"latency": {"repeats": 2}}}
END
batch() {
  "$binary" batch "$folder/zoo" --recipe "$folder/recipe.json" --output "$folder/small" --no-cache "$@"
}

batch --slurm --slurm-option=--oversubscribe > "$folder/batch.out" 2> "$folder/batch.log"
code=$?
[ $code = 6 ] || fail "batch --slurm ended with exit code $code"
grep -q "Slurm job [0-9]*: 2 models in 2 shards" "$folder/batch.log" || fail "no word of the jobs"
grep -q '^good,.*,done,' "$folder/small/zoo.csv" || fail "the good model is not done"
grep -q '^bad,.*,bad model,' "$folder/small/zoo.csv" || fail "the bad model is not told"
[ -s "$folder/small/good/model.pt" ] || fail "the good model was not written"

# What is done is left out; the jobs are sent off, and gathered later.
rm "$folder/zoo/bad.pt"
batch --resume --slurm --detach > "$folder/detached.out" 2> "$folder/detached.log" || fail "--detach"
grep -q -- "--gather" "$folder/detached.out" || fail "not told how to gather"
tries=0
until batch --gather > "$folder/gather.out" 2> "$folder/gather.log"; do
  tries=$((tries + 1))
  [ $tries -lt 60 ] || fail "the jobs that were sent off left no result"
  sleep 0.5
done
echo "a batch of 2 models in 2 jobs of a real Slurm ($(sbatch --version)): as it should be"
