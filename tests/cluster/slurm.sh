#!/bin/sh
# A Slurm of one node, with its own keys, ports and files under a directory: slurm.sh start|stop DIRECTORY CORES
# Needs the Debian packages slurm-wlm and munge, and root. Everything that talks to it needs SLURM_CONF=DIRECTORY/slurm.conf.
set -eu
action=$1 place=$2 cores=${3:-2}

if [ "$action" = stop ]; then
    for name in slurmd slurmctld munged; do
        [ -f "$place/$name.pid" ] && kill -9 "$(cat "$place/$name.pid")" || true
    done
    exit 0
fi

host=$(hostname -s)
mkdir -p "$place/state" "$place/spool"
chmod 755 "$place" "$place/state" "$place/spool"
head -c 1024 /dev/urandom > "$place/munge.key"
chmod 400 "$place/munge.key"
munged --force --key-file="$place/munge.key" --socket="$place/munge.socket" --pid-file="$place/munged.pid" \
    --log-file="$place/munged.log" --seed-file="$place/munged.seed"

cat > "$place/slurm.conf" <<END
ClusterName=weft
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthInfo=socket=$place/munge.socket
CredType=cred/munge
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=4000 State=UNKNOWN
PartitionName=fast Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF="$place/slurm.conf"
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"
for _ in $(seq 60); do
    sinfo --noheader --format=%t 2>/dev/null | grep -qx idle && exit 0
    sleep 0.5
done
echo "the node did not become idle:" >&2
sinfo >&2 || true
tail -n 20 "$place/slurmctld.log" "$place/slurmd.log" >&2
exit 1
