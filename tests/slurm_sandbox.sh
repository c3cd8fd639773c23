#!/bin/bash
# A throw-away Slurm of one node for the tests: its key, configuration, logs and state lie in DIR.
#
#     tests/slurm_sandbox.sh start DIR      prints the SLURM_CONF that its users must export
#     tests/slurm_sandbox.sh stop  DIR      ends its jobs and its daemons; DIR stays
#
# It needs root, slurmctld, slurmd and munged (Debian: slurm-wlm and munge), and no systemd. The node
# says that it has 8 CPUs, whatever it has. The partition `low` is the default; jobs of `high` send
# those of `low` back to the queue.

set -euo pipefail

fail() {
    echo "slurm_sandbox.sh: $1" >&2
    exit 1
}

[ $# -eq 2 ] || fail "usage: slurm_sandbox.sh start|stop DIR"
action=$1
mkdir -p -- "$2"
dir=$(cd -- "$2" && pwd)
case $dir in *[[:space:]#]*) fail "$dir: Slurm's configuration can't hold such a path" ;; esac
# A UNIX socket's path has at most 107 characters.
[ ${#dir} -le 80 ] || fail "$dir is too long: take a folder of at most 80 characters"

PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF=$dir/slurm.conf
daemons=(slurmctld slurmd munged)

free_ports() { # below those that the system gives to clients, so that nobody takes them in between
    python3 - <<'END'
import random, socket
free = []
while len(free) < 2:
    with socket.socket() as probe:
        port = random.randrange(10000, 32000)
        if probe.connect_ex(("127.0.0.1", port)) and port not in free:
            free.append(port)
print(*free)
END
}

write_configuration() {
    local controller_port node_port host
    read -r controller_port node_port <<<"$(free_ports)"
    host=$(hostname -s)
    cat >"$SLURM_CONF" <<END
ClusterName=sandbox
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller_port
SlurmdPort=$node_port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A job that was requeued waits this long (s) before it starts again.
AuthInfo=socket=$dir/munge.socket,cred_expire=10
SlurmctldPidFile=$dir/slurmctld.pid
SlurmctldLogFile=$dir/slurmctld.log
StateSaveLocation=$dir/state
SlurmdPidFile=$dir/slurmd.pid
SlurmdLogFile=$dir/slurmd.log
SlurmdSpoolDir=$dir/spool
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0,batch_sched_delay=0
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
OverTimeLimit=0
KillWait=5
InactiveLimit=0
MinJobAge=3600
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 Boards=1 SocketsPerBoard=1 CoresPerSocket=8 ThreadsPerCore=1
PartitionName=low Nodes=$host Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=$host MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
END
    echo "IgnoreSystemd=yes" >"$dir/cgroup.conf"
}

runs() { # PID PROGRAM; Debian's programs have a suffix, and a zombie has no program
    [[ $(readlink "/proc/$1/exe") == */"$2"* ]]
}

pid_of() { # nothing if the daemon has gone, also if another process has its number
    local pid
    pid=$(cat "$dir/$1.pid" 2>/dev/null) || return 0
    if runs "$pid" "$1"; then echo "$pid"; fi
}

signal() { # SIGNAL DAEMON, if it runs
    local pid
    pid=$(pid_of "$2")
    if [ -n "$pid" ]; then kill "-$1" "$pid" || true; fi
}

within() { # SECONDS COMMAND...: whether the command succeeds in time
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.2
    done
}

node_is_idle() { [ "$(sinfo --noheader --format=%T --partition=low 2>/dev/null)" = idle ]; }
no_jobs() { local jobs && jobs=$(squeue --noheader 2>/dev/null) && [ -z "$jobs" ]; }
is_gone() { [ -z "$(pid_of "$1")" ]; }

start() {
    local daemon
    [ "$(id -u)" -eq 0 ] || fail "needs root"
    for daemon in "${daemons[@]}"; do
        command -v "$daemon" >/dev/null || fail "$daemon is not installed: see slurm-wlm and munge"
        is_gone "$daemon" || fail "$dir: $daemon runs already"
    done
    mkdir -p "$dir/state" "$dir/spool"
    write_configuration
    (umask 077 && head -c 1024 /dev/urandom >"$dir/munge.key")
    # --force: the folders above need not be open to other users, of whom there are none.
    munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" \
        --pid-file="$dir/munged.pid" --seed-file="$dir/munge.seed" --log-file="$dir/munged.log" \
        >"$dir/munged.out" 2>&1 || give_up "munged did not start"
    slurmctld -c >"$dir/slurmctld.out" 2>&1 || give_up "slurmctld did not start"
    slurmd -c >"$dir/slurmd.out" 2>&1 || give_up "slurmd did not start"
    within 60 node_is_idle || give_up "the node was not idle after 60 s"
    echo "$SLURM_CONF"
}

give_up() {
    tail -n 15 "$dir"/*.out "$dir"/*.log >&2 || true
    stop || true
    fail "$1; the ends of its logs are above"
}

step_daemons() { # those of this sandbox, which work in its folder
    local process
    for process in /proc/[0-9]*; do
        if [ "$(readlink "$process/cwd")" = "$dir" ] && runs "${process#/proc/}" slurmstepd; then
            echo "${process#/proc/}"
        fi
    done
}

kill_tree() {
    local child
    for child in $(pgrep --parent "$1"); do kill_tree "$child"; done
    kill -KILL "$1" 2>/dev/null || true
}

stop() {
    local daemon step
    if [ -n "$(pid_of slurmctld)" ]; then
        scancel --user=root 2>/dev/null || true
        within 30 no_jobs || true
    fi
    for daemon in "${daemons[@]}"; do
        signal TERM "$daemon"
        within 15 is_gone "$daemon" || signal KILL "$daemon"
    done
    for step in $(step_daemons); do kill_tree "$step"; done
}

case $action in
start) start ;;
stop) stop ;;
*) fail "usage: slurm_sandbox.sh start|stop DIR" ;;
esac
