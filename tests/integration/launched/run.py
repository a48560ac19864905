"""The command line of kdprobe, with models divided among processes on a CPU: `run.py COMMAND...`."""

from sharding_on_cpu import shard_on_cpu

from kdprobe.cli import main

shard_on_cpu()
main()
