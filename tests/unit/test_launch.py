"""What a launcher may ask of training."""

from dataclasses import replace

import pytest

from kdprobe.distill.training.launch import refuse_launch
from kdprobe.errors import UsageError
from kdprobe.models.reference import ModelRecord

SHARDED = {
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_MIXED_PRECISION": "no",
    "ACCELERATE_DYNAMO_BACKEND": "NO",
    "FSDP_VERSION": "2",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
    "FSDP_ACTIVATION_CHECKPOINTING": "false",
    "FSDP_OFFLOAD_PARAMS": "false",
}


@pytest.fixture
def launched(monkeypatch, tmp_path):
    """Checks a launch of two processes with these variables."""
    student = ModelRecord("student", "folder", tmp_path, "0" * 64)

    def launch(variables, processes=2, **about):
        for name, value in {"RANK": "0", "WORLD_SIZE": str(processes), **variables}.items():
            monkeypatch.setenv(name, value)
        refuse_launch(replace(student, **about))

    return launch


@pytest.mark.parametrize("variables", [{}, SHARDED], ids=["DDP", "FSDP2"])
def test_copies_and_slices_are_trained(launched, variables):
    launched(variables)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "kdprobe does not train with DeepSpeed"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "kdprobe does not train with Megatron-LM"),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, r"mixed precision \(bf16\)"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, r"compiled model \(the dynamo backend inductor\)"),
        ({**SHARDED, "ACCELERATE_USE_PARALLELISM_CONFIG": "true"}, "does not train with parallelism_config"),
        ({**SHARDED, "FSDP_VERSION": "1"}, "version 1 of FSDP.*\n?.*Set fsdp_version: 2"),
        ({"ACCELERATE_USE_FSDP": "true"}, "version 1 of FSDP"),
        ({**SHARDED, "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, "Set fsdp_cpu_ram_efficient_loading: false"),
        ({**SHARDED, "FSDP_ACTIVATION_CHECKPOINTING": "true"}, "gradient_checkpointing = true"),
        ({**SHARDED, "FSDP_OFFLOAD_PARAMS": "true"}, "does not support fsdp_offload_params"),
        ({**SHARDED, "FSDP_IGNORED_MODULES": ".*lm_head"}, "Remove fsdp_ignored_modules"),
    ],
)
def test_what_would_change_numbers_is_refused(launched, variables, sentence):
    with pytest.raises(UsageError, match=sentence):
        launched(variables)


@pytest.mark.parametrize(
    ("variables", "processes", "quantisation", "reason"),
    [
        (SHARDED, 2, "bitsandbytes", "FSDP2 cannot divide them.*accelerate#3874"),
        ({}, 2, "bitsandbytes", "can train adapters on quantised weights only in a single process"),
        ({}, 1, "gptq", "can train adapters on quantised weights only if bitsandbytes quantised them"),
    ],
    ids=["FSDP2", "DDP", "another library"],
)
def test_quantised_weights_are_trained_on_in_one_process(launched, variables, processes, quantisation, reason):
    subject = rf"weights of the student 'student' are quantised \({quantisation}\)"
    with pytest.raises(UsageError, match=f"{subject}[,;] .*{reason}"):
        launched(variables, processes, quantisation=quantisation)


def test_one_process_trains_on_what_bitsandbytes_quantised(launched):
    launched({}, 1, quantisation="bitsandbytes")


def test_one_process_divides_nothing(launched):
    with pytest.raises(UsageError, match="only one was launched"):
        launched(SHARDED, processes=1)


def test_older_versions_of_accelerate_are_refused(launched, monkeypatch):
    monkeypatch.setattr("kdprobe.distill.training.launch.version", lambda _: "1.9.0")
    with pytest.raises(UsageError, match=r"needs accelerate 1\.15 or newer; 1\.9\.0"):
        launched(SHARDED)
