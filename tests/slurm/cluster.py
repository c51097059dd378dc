# SPDX-License-Identifier: Apache-2.0
"""A private Slurm cluster on one machine, for tests: munged, slurmctld and four slurmd, which differ by port, all in one
directory and beside any Slurm that the machine has. Needs the packages slurm-wlm and munge (Debian builds them with
--enable-multiple-slurmd). Where the kernel allows it each node has a host name, an /etc/hosts and a /dev/shm of its own: Open MPI
names its shared memory by host name and local rank, so nodes of one name crash as soon as two of them hold two ranks each.

  with Cluster(directory) as cluster:       the directory's path is short, because it holds unix sockets
      job = cluster.sbatch("jobs/cpu.sbatch", "deck.toml")
      cluster.wait_state(job, "COMPLETED")
"""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

NODES, CPUS = 4, 2
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
FOREIGN = re.compile(r"(SLURM|SLURMD|SBATCH|SALLOC|SQUEUE|SINFO|PMI|PMIX|OMPI|PRTE)_")
CONFIGURATION = """
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={dir}/munge.socket
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool/%n
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd-%n.pid
SlurmctldLogFile={dir}/slurmctld.log
SlurmdLogFile={dir}/slurmd-%n.log
TmpFS={dir}/tmp/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=0
SlurmctldParameters=preempt_send_user_signal
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
MessageTimeout=10
BatchStartTimeout=10
KillWait=5
WaitTime=0
InactiveLimit=0
MinJobAge=3600
NodeName=n[1-{nodes}] NodeHostname={hostnames} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs={cpus} RealMemory=2000 Gres=gpu:{cpus} State=UNKNOWN
PartitionName=batch  Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=graced Nodes=ALL Default=NO  MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=ALL Default=NO  MaxTime=INFINITE State=UP PriorityTier=100 PreemptMode=OFF
"""
# Slurm's own files lie on one disk here; the namespaces are what makes nodes of it.
NODE_SCRIPT = """hostname "$1" && mount --bind "$2" /etc/hosts && mount -t tmpfs -o mode=1777 tmpfs /dev/shm && shift 2 && exec "$@" """


def missing():
    """The programs that are not installed."""
    return [name for name in ("munged", "slurmctld", "slurmd", "srun", "unshare") if not shutil.which(name, path=PATH)]


def alive(pid):
    """Runs, and is no zombie that nobody has waited for yet."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def environment_of(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().decode(errors="replace").split("\0")
    except OSError:
        return []


def free_ports(first, count):
    used = set()
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(name, encoding="ascii") as file:
            used |= {int(line.split()[1].rpartition(":")[2], 16) for line in list(file)[1:] if line.split()[3] == "0A"}
    return not used & set(range(first, first + count))


class Cluster:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        assert len(str(self.directory)) <= 70, "unix sockets have short names"
        self.conf = self.directory / "slurm.conf"
        self.nodes = [f"n{i}" for i in range(1, NODES + 1)]
        # Open MPI believes the declared CPUs and would spin on them.
        self.env = {key: value for key, value in os.environ.items() if not FOREIGN.match(key)}
        self.env |= {"PATH": PATH, "SLURM_CONF": str(self.conf), "OMPI_MCA_mpi_yield_when_idle": "1",
                     "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                     "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_hwloc_base_binding_policy": "none",
                     "OMPI_MCA_btl_vader_single_copy_mechanism": "none"}
        self.unshare = ["unshare", "--uts", "--mount"]
        if os.getuid() != 0:
            self.unshare += ["--map-current-user", "--keep-caps"]

    # ---- Begin and end

    def __enter__(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        for name in ("state", "spool", "tmp", *(f"{kind}/{node}" for kind in ("spool", "tmp") for node in self.nodes)):
            (self.directory / name).mkdir(parents=True)
        (self.directory / "munge.key").write_bytes(os.urandom(1024))
        (self.directory / "munge.key").chmod(0o600)
        with open("/etc/hosts", encoding="utf-8") as file:
            (self.directory / "hosts").write_text(file.read() + "".join(f"127.0.0.1 {node}\n" for node in self.nodes))
        port = next(port for port in range(20000 + os.getpid() % 500 * 20, 32000, 20) if free_ports(port, NODES + 2))
        self.conf.write_text(CONFIGURATION.format(
            host=os.uname().nodename.split(".")[0], port=port, user=self.command("id", "-un").strip(), dir=self.directory,
            nodes=NODES, cpus=CPUS, hostnames=f"n[1-{NODES}]", first=port + 1, last=port + NODES))
        for i in range(CPUS):  # Slurm counts the files
            (self.directory / f"gpu{i}").touch()
        (self.directory / "gres.conf").write_text(f"Name=gpu File={self.directory}/gpu[0-{CPUS - 1}]\n")
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        self.command("munged", f"--socket={self.directory}/munge.socket", f"--key-file={self.directory}/munge.key",
                     f"--pid-file={self.directory}/munged.pid", f"--log-file={self.directory}/munged.log",
                     f"--seed-file={self.directory}/munge.seed", "--num-threads=2")
        self.command("slurmctld", "-f", self.conf, mark="ctld")
        for node in self.nodes:
            self.start_node(node)
        self.wait(lambda: set(self.command("sinfo", "-h", "-o", "%T").split()) == {"idle"}, "all nodes", 30)

    def start_node(self, node):
        drop = [] if os.getuid() == 0 else ["setpriv", "--inh-caps=-all", "--ambient-caps=-all"]
        self.command(*self.unshare, "sh", "-c", NODE_SCRIPT, "sh", node, self.directory / "hosts", *drop, "slurmd", "-f", self.conf,
                     "-N", node, mark=node)

    def __exit__(self, *_):
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL, signal.SIGKILL):
            members = self.members()
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            with contextlib.suppress(AssertionError):
                self.wait(lambda pids=members: not any(map(alive, pids)), "the end", 3)
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.directory / "munged.pid").read_text()), signal.SIGTERM)

    def members(self, node=None):
        """Daemons of this cluster and processes of its jobs, by their environment; of one node by its namespace."""
        space = {os.readlink(f"/proc/{pid}/ns/uts") for pid in self.daemons(node)} if node else None
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            env = environment_of(entry)
            if f"SLURM_CONF={self.conf}" not in env or not any(
                    name.startswith(("SLURMD_NODENAME=", "LEPTON_TEST_DAEMON=")) for name in env) or not alive(entry):
                continue
            with contextlib.suppress(OSError):
                if space is None or os.readlink(f"/proc/{entry}/ns/uts") in space:
                    found.append(int(entry))
        return found

    def daemons(self, node):
        return [int(entry) for entry in filter(str.isdigit, os.listdir("/proc"))
                if {f"SLURM_CONF={self.conf}", f"LEPTON_TEST_DAEMON={node}"} <= set(environment_of(entry)) and alive(entry)]

    # ---- What happens to nodes

    def kill_node(self, node):
        """A power cut: everything of the node at once. Returns what must be gone."""
        for _ in range(5):
            members = self.members(node)
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not members:
                return
            time.sleep(0.1)

    def revive_node(self, node):
        self.start_node(node)

        def back():
            state = self.command("sinfo", "-h", "-n", node, "-o", "%T").split()[0]
            if state.startswith(("down", "drain")):
                self.command("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
            return state in ("idle", "allocated", "mixed", "completing")

        self.wait(back, f"{node} to come back", 30)

    # ---- Commands

    def command(self, *words, mark=None, check=True, env=None):
        env = {**self.env, **(env or {}), **({"LEPTON_TEST_DAEMON": mark} if mark else {})}
        done = subprocess.run([str(word) for word in words], env=env, stdin=subprocess.DEVNULL, capture_output=mark is None, text=True,
                              timeout=60)
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout or ""

    def sbatch(self, *words, env=None):
        return self.command("sbatch", "--parsable", *words, env=env).strip()

    def field(self, job, name):
        found = re.search(rf"\b{name}=(\S+)", self.command("scontrol", "show", "job", job))
        return found.group(1) if found else ""

    def wait(self, condition, what, seconds):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds} s for {what}\n" + self.command("squeue", check=False)
            time.sleep(0.1)

    def wait_state(self, job, *states, seconds=120):
        """Until the job is in one of these states. One that is queued again begins soon: Slurm would let it wait two minutes, and a
        node refuses a job in the second in which it was killed there ("Job credential revoked")."""
        seen = None

        def reached():
            nonlocal seen
            state = self.field(job, "JobState")
            if state == "PENDING" and self.field(job, "Reason") == "BeginTime":
                seen = seen or time.monotonic()
                if time.monotonic() > seen + 2:
                    self.command("scontrol", "update", f"JobId={job}", "StartTime=now", check=False)
            else:
                seen = None
            return state in states

        self.wait(reached, f"job {job} to be {' or '.join(states)}", seconds)
        if self.field(job, "JobState") != "COMPLETED":  # one that is being queued again may look so for a moment
            time.sleep(3)
            self.wait(reached, f"job {job} to be {' or '.join(states)}", seconds)
        return self.field(job, "JobState")
