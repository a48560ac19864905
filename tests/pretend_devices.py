"""GPUs that a machine without any pretends to have, so that a model can really be spread over several.

Tensors stay in main memory, but each storage carries the device that it pretends to be on. A mode sees every call of
torch: new tensors get the device that they were made for, results that of their arguments, and only `to` and the like
move anything. A call whose arguments are on different devices raises what CUDA raises. So a transfer that is missing
somewhere fails here as it would fail on real GPUs, and all numbers are those of the CPU, bit for bit.

As on real GPUs, a number on the CPU may meet tensors elsewhere, indices may be on the CPU, and copies go anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import peft.peft_model
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

CPU = torch.device("cpu")
FIRST, SECOND = torch.device("cuda", 0), torch.device("cuda", 1)
_NAME = "_pretended_device"
_MEMORY = 2**33
_INDEXES = {Tensor.__getitem__, Tensor.__setitem__, Tensor.index_select, torch.index_select}
_COPIES = {Tensor.copy_, Tensor.__deepcopy__, torch.Tensor.data.__set__}


def device_of(tensor: Tensor) -> torch.device:
    """Where a tensor pretends to be; meta tensors and those that no call was told about are where they are."""
    if tensor.is_meta:
        return torch.device("meta")
    found = getattr(tensor.untyped_storage(), _NAME, None)
    return CPU if found is None else found


def _label(value: Any, device: torch.device) -> Any:
    """Puts all new tensors of a result on a device."""
    for tensor in _tensors(value):
        if not tensor.is_meta and not hasattr(tensor.untyped_storage(), _NAME):
            setattr(tensor.untyped_storage(), _NAME, device)
    return value


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _common(function: Any, tensors: list[Tensor]) -> torch.device:
    """The device that a call runs on."""
    devices = {}
    for tensor in tensors:
        # A number on the CPU may meet tensors on any device.
        device = device_of(tensor)
        if device.type != "meta" and not (device == CPU and tensor.dim() == 0):
            devices.setdefault(device, tensor)
    if len(devices) > 1:
        names = " and ".join(sorted(map(str, devices)))
        raise RuntimeError(f"Expected all tensors to be on the same device, but {function} got {names}")
    return next(iter(devices), CPU)


class Pretending(TorchFunctionMode):
    """While it is active, torch keeps to the rules of devices that are not there."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs a call on the CPU if real devices would have run it."""
        kwargs = dict(kwargs or {})
        if function in _SPECIAL:
            return _SPECIAL[function](function, args, kwargs)
        tensors = list(_tensors([args, kwargs]))
        if function in _INDEXES:
            home = _home(function, args, kwargs)
        elif function in _COPIES:
            home = device_of(tensors[0]) if tensors else CPU
        else:
            home = _common(function, tensors)
        if (asked := kwargs.get("device")) is not None:
            home = _named(asked)
            if home.type == "cuda":
                kwargs["device"] = CPU
        return _label(function(*args, **kwargs), home)


def _numpy(function: Any, args: Any, kwargs: Any) -> Any:
    if device_of(args[0]) != CPU:
        raise TypeError(f"can't convert {device_of(args[0])} device type tensor to numpy")
    return function(*args, **kwargs)


def _device(_function: Any, args: Any, kwargs: Any) -> torch.device:
    return torch.device("cuda", *args) if args and isinstance(args[0], int) else torch.device(*args, **kwargs)


def _named(device: Any) -> torch.device:
    """The device that an argument stands for: a number is that of a GPU, and `cuda` the first."""
    found = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    return FIRST if found.type == "cuda" and found.index is None else found


def _moved(function: Any, args: Any, kwargs: Any) -> Tensor:
    """`to` and its like: a copy on another device or of another type, or the tensor itself."""
    tensor, *given = args
    old = device_of(tensor)
    new, dtype, copy = old, kwargs.get("dtype"), kwargs.get("copy", False)
    if function is Tensor.cpu:
        new = CPU
    elif function is Tensor.cuda:
        new = _named(given[0] if given else 0)
    else:
        other = kwargs.get("other")
        for value in given:
            # Only `copy` may be a number that is true; `non_blocking` makes no difference here.
            if isinstance(value, Tensor):
                other = value
            elif isinstance(value, torch.dtype):
                dtype = value
            elif isinstance(value, bool):
                copy = copy or (value and value is given[-1])
            elif value is not None:
                new = _named(value)
        if kwargs.get("device") is not None:
            new = _named(kwargs["device"])
        if other is not None:
            new, dtype = device_of(other), other.dtype
    if new.type == "meta":
        return tensor.to("meta", dtype)
    result = tensor.to(dtype or tensor.dtype, copy=copy or new != old)
    return result if result is tensor else _label(result, new)


def _home(function: Any, args: Any, kwargs: Any) -> torch.device:
    """Where an indexed tensor is; its indices must be there too, or on the CPU."""
    own, *others = args
    home = device_of(own)
    value = others.pop() if function is Tensor.__setitem__ else None
    indices = list(_tensors([others, kwargs]))
    for index in indices:
        if device_of(index) not in {home, CPU} or (
            function is not Tensor.__getitem__ and device_of(index) != home and function is not Tensor.__setitem__
        ):
            raise RuntimeError(f"indices should be either on cpu or on the same device as the indexed tensor ({home})")
    if isinstance(value, Tensor) and indices and value.numel() > 1 and device_of(value) != home:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but a value on {device_of(value)} was put "
            f"into a tensor on {home}"
        )
    return home


def _gradients(_function: Any, args: Any, kwargs: Any) -> Any:
    """Gradients are where the tensors are with respect to which they are taken."""
    inputs = list(_tensors([kwargs["inputs"] if "inputs" in kwargs else args[1]]))
    found = torch.autograd.grad(*args, **kwargs)
    for gradient, tensor in zip(found, inputs, strict=True):
        if gradient is not None:
            _label(gradient, device_of(tensor))
    return found


_SPECIAL = {
    Tensor.device.__get__: lambda _function, args, _: device_of(args[0]),
    Tensor.is_cuda.__get__: lambda _function, args, _: device_of(args[0]).type == "cuda",
    Tensor.is_cpu.__get__: lambda _function, args, _: device_of(args[0]) == CPU,
    Tensor.to: _moved,
    Tensor.cpu: _moved,
    Tensor.cuda: _moved,
    Tensor.numpy: _numpy,
    torch.device: _device,
    torch.autograd.grad: _gradients,
    torch._has_compatible_shallow_copy_type: lambda _function, args, _: device_of(args[0]) == device_of(args[1]),
}
"""What is not a computation on one device."""


@contextmanager
def pretended_gpus(count: int = 2) -> Iterator[None]:
    """While the context is open, this process seems to have GPUs."""
    with (
        mock.patch("torch.cuda.is_available", return_value=True),
        mock.patch("torch.cuda.device_count", return_value=count),
        mock.patch("torch.cuda.mem_get_info", return_value=(_MEMORY, _MEMORY)),
        mock.patch("torch.cuda.memory_reserved", return_value=0),
        mock.patch("torch.cuda.memory_allocated", return_value=0),
        mock.patch("torch.cuda.empty_cache", return_value=None),
        mock.patch("torch.cuda.get_device_name", return_value="a pretended GPU"),
        # safetensors would read adapters into memory that only a real GPU shares.
        mock.patch.object(peft.peft_model, "infer_device", return_value="cpu"),
        mock.patch.dict("os.environ", {"HF_DEACTIVATE_ASYNC_LOAD": "1"}),
        Pretending(),
    ):
        yield
