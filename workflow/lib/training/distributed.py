"""One training on several processes, one a GPU: who does which micro-batch, and how their results become one.

A step has the same micro-batches for any number of processes: each process takes some of them, and gradients, losses and
what batch-norm learned are summed once a step. So the batch, its micro-batches (on which batch-norm works), the order of the
images and the schedule are those of a single process, and the results equal it up to rounding. PyTorch's wrapper for this
(DistributedDataParallel) averages over processes instead, and demands that all have the same number of micro-batches.
"""

import ctypes
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from workflow.lib.job.run import UserError, collect_warnings, log_to, write_json

log = logging.getLogger("medseg")

T = TypeVar("T")


def rank() -> int:
    """The number of this process; 0 where there is only one."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def processes() -> int:
    """The number of processes of this training."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def wait_for_all() -> None:
    """Return when every process has come here."""
    if distributed.is_initialized():
        distributed.barrier()


def one_per_node(work: Callable[[], T]) -> T:
    """The result of `work`, which the first process of each node does before the others, so that these find it done."""
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    if first:
        work()
    wait_for_all()
    return work()


def sum_over_processes(tensors: list[Tensor]) -> None:
    """Replace each tensor by its sum over all processes (float32, one transfer for all)."""
    if not distributed.is_initialized():
        return
    flat = torch.cat([tensor.flatten().float() for tensor in tensors])
    distributed.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


class NormStatistics:
    """Running means and variances of batch-norm over one step, whose micro-batches lie on several processes.

    One after the other, micro-batches i = 1..A of a step leave r = (1-m)^A r0 + sum_i m (1-m)^(A-i) s_i, with the momentum
    m and their statistics s_i. Each process adds up the terms of its own micro-batches; their sum is the same r.
    """

    def __init__(self, model: nn.Module) -> None:
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        self.norms = [norm for norm in norms if norm.training and norm.running_mean is not None]
        self.counts = [norm.num_batches_tracked.clone() for norm in self.norms if norm.num_batches_tracked is not None]
        self.before = [buffer.clone() for _, buffer in self._buffers()]
        self.terms = [torch.zeros_like(buffer) for buffer in self.before]

    def _buffers(self) -> list[tuple[float, Tensor]]:
        return [
            (float(norm.momentum or 0), buffer)
            for norm in self.norms
            for buffer in (norm.running_mean, norm.running_var)
            if buffer is not None
        ]

    def begin(self) -> None:
        """Before a micro-batch: the buffers will hold m s_i after it."""
        for _, buffer in self._buffers():
            buffer.zero_()

    def end(self, later: int) -> None:
        """After a micro-batch that `later` others follow in this step."""
        for term, (momentum, buffer) in zip(self.terms, self._buffers(), strict=True):
            term.add_(buffer, alpha=(1 - momentum) ** later)

    def finish(self, micro_batches: int) -> None:
        """After `terms` were summed over the processes: set the statistics that the whole step leaves."""
        for before, term, (momentum, buffer) in zip(self.before, self.terms, self._buffers(), strict=True):
            buffer.copy_(before * (1 - momentum) ** micro_batches + term)
        for count, norm in zip(self.counts, self.norms, strict=True):
            norm.num_batches_tracked.copy_(count + micro_batches)  # type: ignore[union-attr]


def run_training(
    function: str, log_file: str | Path, resources: Any, threads: int, arguments: Mapping[str, Any]
) -> None:
    """`run_on` the processes that a job's resources ask for by nodes, tasks_per_node or gpu (of all nodes); each gets its share
    of the job's `threads` as a further argument. Of tasks_per_node, each has as many: so SLURM reserves them."""
    nodes = resources.get("nodes", 1)
    tasks = resources.get("tasks_per_node")
    per_node = tasks or max(1, resources.get("gpu", 1) // nodes)
    shared = {**arguments, "threads": threads if tasks else max(1, threads // per_node)}
    run_on(nodes * per_node, nodes, function, log_file, shared)


def run_on(count: int, nodes: int, function: str, log_file: str | Path, arguments: Mapping[str, Any]) -> None:
    """Call `function` ("module:name") with keyword `arguments` (JSON types) in `count` processes on `nodes` nodes.

    One process: called right here. More: torchrun starts them, on several nodes by srun within this SLURM job. Raises
    `UserError` when they can't be shared equally among the nodes; ends with the exit status of torchrun.
    """
    module, name = function.split(":")
    if count == 1:
        getattr(import_module(module), name)(**arguments)
        return
    if count % nodes:
        raise UserError(
            "processes cannot be shared equally among nodes",
            found=f"{count} processes on {nodes} nodes",
            expected="a multiple of the number of nodes",
            where="resources of rule pretrain_encoder: gpu (or tasks_per_node) and nodes",
            next="correct set-resources in the profile",
        )
    call = Path(log_file).with_suffix(".call.json")
    write_json(call, {"function": function, "log_file": str(log_file), "arguments": dict(arguments)})
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count // nodes}"]
    if nodes == 1:
        launcher.append("--standalone")
    else:
        job = int(os.environ["SLURM_JOB_ID"])
        address = f"{socket.gethostname()}:{29500 + job % 1000}"  # another port for every job that shares a node
        rendezvous = [f"--rdzv-id={job}", "--rdzv-backend=c10d", f"--rdzv-endpoint={address}"]
        srun = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
        launcher = [*srun, *launcher, f"--nnodes={nodes}", *rendezvous]
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    log.info("%d processes on %d nodes: %s", count, nodes, " ".join(launcher))
    child = subprocess.Popen(
        [*launcher, "-m", __name__, str(call)], env=os.environ | {"PYTHONPATH": path}, preexec_fn=_die_with_parent
    )
    # The processes save their state when the job is asked to end; this one waits for them.
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        status = child.wait()
    finally:
        child.kill()
    call.unlink(missing_ok=True)
    if status:
        raise SystemExit(status)


def _die_with_parent() -> None:
    """From now on SIGKILL follows the end of the parent: who holds the lease leaves no training behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _one_process(call_file: str) -> None:
    """What each process of torchrun does."""
    _die_with_parent()
    collect_warnings()
    call = json.loads(Path(call_file).read_text())
    on_gpu = call["arguments"]["device"] == "cuda" and torch.cuda.is_available()  # its absence is named later
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # Long: others wait while one copies ImageNet to scratch. torchrun notices processes that end.
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(days=1))
    log_to(call["log_file"], append=True, level=logging.INFO if rank() == 0 else logging.ERROR)
    module, name = call["function"].split(":")
    try:
        getattr(import_module(module), name)(**call["arguments"])
        wait_for_all()  # none leaves while others still write
    except Exception:
        sys.excepthook(*sys.exc_info())
        os._exit(1)  # taking the group down would wait for processes that wait for this one
    distributed.destroy_process_group()


if __name__ == "__main__":
    _one_process(sys.argv[1])
