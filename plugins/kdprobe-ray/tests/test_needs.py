"""What a stage asks for, and what may be set."""

import pytest
from pydantic import ValidationError

from kdprobe.experiment import Task
from kdprobe.testing import host_with
from kdprobe_ray import needs as asking
from kdprobe_ray.needs import needs
from kdprobe_ray.options import RayOptions


def task(threads=None, device=None, **reserved):
    stated = {"threads": threads, "device": device, **reserved}
    return Task.from_data({"key": "k", "kind": "distill", "name": "n", "resources": stated, "settings": {}})


@pytest.mark.parametrize(
    ("stated", "cpus", "asked"),
    [
        ({}, 1, {"num_cpus": 1, "num_gpus": 0}),
        ({"threads": 4, "device": "cpu", "gpus": 2}, 2, {"num_cpus": 4, "num_gpus": 0}),
        ({"device": "cuda"}, 2, {"num_cpus": 2, "num_gpus": 1}),
        ({"device": "cuda", "gpus": 4}, 1, {"num_cpus": 1, "num_gpus": 4}),
        (
            {"device": "cuda", "gpus": 0.5, "memory_gib": 2},
            1,
            {"num_cpus": 1, "num_gpus": 0.5, "memory": 2**31},
        ),
    ],
)
def test_what_is_stated_is_asked_for(monkeypatch, stated, cpus, asked):
    monkeypatch.setattr(asking, "_has_gpu", lambda: False)
    assert needs(task(**stated), RayOptions(cpus=cpus)) == asked


def test_without_a_stated_device_a_stage_needs_what_this_process_has(monkeypatch):
    monkeypatch.setattr(asking, "_has_gpu", lambda: True)
    assert needs(task(), RayOptions())["num_gpus"] == 1
    assert needs(task(device="cpu"), RayOptions())["num_gpus"] == 0


def test_stages_that_use_more_than_they_ask_for_are_noted(monkeypatch):
    monkeypatch.setattr(asking, "_has_gpu", lambda: False)
    monkeypatch.setattr(asking, "_threads", lambda: 8)

    def noted(task, **options):
        return asking.overload(task, needs(task, RayOptions(**options)))

    assert "uses 8 CPU threads but requests only 1 CPU from Ray" in noted(task())
    assert noted(task(), cpus=8) == noted(task(threads=4)) == noted(task(device="cuda")) == ""


def test_a_client_of_ray_is_refused():
    with pytest.raises(ValidationError, match=r"must not be a Ray Client address, .*; run kdprobe on a machine"):
        RayOptions(address="ray://head:10001")


def test_the_executor_is_built_without_ray():
    host = host_with("kdprobe_ray")
    assert host.create("executors", "ray", {"address": "auto", "retries": 0}) is not None
