"""Commands that start two processes."""

import sys

# Each on a port of its own, so that trainings beside each other do not meet. Without a GPU the processes that
# accelerate starts for several GPUs meet over gloo; told to use a CPU, it starts one only.
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes=2"]
ACCELERATE += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]

SHARDED = """
distributed_type: FSDP
mixed_precision: 'no'
num_machines: 1
num_processes: 2
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_cpu_ram_efficient_loading: false
"""


def sharded(folder):
    """Starts two processes that divide the model, by a configuration in a folder."""
    file = folder / "fsdp.yaml"
    file.write_text(SHARDED)
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--config_file", str(file)]
    return [*command, "--dynamo_backend=no", "--main_process_port=0"]
