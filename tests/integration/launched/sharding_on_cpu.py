"""Lets accelerate divide a model among processes on a CPU: torch does, but accelerate only looks for GPUs.

Nothing else is replaced. The processes meet over gloo.
"""


def shard_on_cpu():
    from accelerate.state import AcceleratorState, DistributedType, PartialState

    enter = AcceleratorState.__init__

    def entered(self, *known, **more):
        if PartialState._shared_state:
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        enter(self, *known, **more)

    AcceleratorState.__init__ = entered
