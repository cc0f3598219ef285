#!/bin/sh
# A Slurm of one node on this machine, for trying the profile `slurm`. Its files, keys and logs are in one folder; besides,
# /etc/slurm/slurm.conf points there while it runs (where there is one already, nothing is done). Needs root and the
# packages slurm-wlm and munge (Debian, Ubuntu).
#   slurm_here.sh start FOLDER
#   slurm_here.sh stop FOLDER
set -eu
[ $# = 2 ] || { sed -n 5,6p "$0" >&2; exit 2; }
mkdir -p "$2" && here=$(cd "$2" && pwd)
conf=/etc/slurm/slurm.conf

stop() {
  for name in slurmd slurmctld munged; do
    pid=$(cat "$here/$name.pid" 2>/dev/null) || continue
    kill "$pid" 2>/dev/null || continue
    for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null || break; sleep 1; done
    kill -9 "$pid" 2>/dev/null || true
  done
  [ "$(readlink $conf)" != "$here/slurm.conf" ] || rm $conf
}

case $1 in
  start)
    for name in munged slurmctld slurmd; do
      command -v $name >/dev/null || { echo "slurm_here: $name is missing: apt-get install --no-install-recommends slurm-wlm munge" >&2; exit 1; }
    done
    if [ -e $conf ] || [ -L $conf ]; then
      echo "slurm_here: $conf is there already; this machine belongs to a Slurm, or \`stop\` was forgotten" >&2
      exit 1
    fi
    mkdir -p "$here/state" "$here/spool" && chmod 755 "$here"
    umask 077
    [ -s "$here/key" ] || head -c 1024 /dev/urandom >"$here/key"
    node=$(slurmd -C | sed -n 's/^NodeName=\([^ ]*\).*\(CPUs=[0-9]*\).*\(RealMemory=[0-9]*\).*/NodeName=\1 NodeAddr=127.0.0.1 \2 \3/p')
    name=${node#NodeName=} name=${name%% *}
    cat >"$here/slurm.conf" <<CONF
ClusterName=here
SlurmctldHost=$name(127.0.0.1)
SlurmctldPort=${SLURM_HERE_PORT:-16817}
SlurmdPort=$((${SLURM_HERE_PORT:-16817} + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$here/munged.socket
CredType=cred/munge
StateSaveLocation=$here/state
SlurmdSpoolDir=$here/spool
SlurmctldPidFile=$here/slurmctld.pid
SlurmdPidFile=$here/slurmd.pid
SlurmctldLogFile=$here/slurmctld.log
SlurmdLogFile=$here/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=5
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MinJobAge=86400
$node State=UNKNOWN
PartitionName=gpu Nodes=$name Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF
    mkdir -p /etc/slurm && ln -s "$here/slurm.conf" $conf
    munged --key-file="$here/key" --socket="$here/munged.socket" --pid-file="$here/munged.pid" --log-file="$here/munged.log" --seed-file="$here/munged.seed" --force
    slurmctld -c
    slurmd
    for _ in $(seq 30); do
      [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ] && { sinfo; exit 0; }
      sleep 1
    done
    echo "slurm_here: no idle node after 30 s; see $here/*.log" >&2
    tail -n 5 "$here"/*.log >&2
    stop
    exit 1 ;;
  stop) stop ;;
  *) echo "slurm_here: $1 is neither start nor stop" >&2; exit 2 ;;
esac
