"""Training the tiny model, and references for what training reports."""

import numpy as np
import pytest
from scipy.special import log_softmax


@pytest.fixture(scope="session")
def distil(torch, tiny_record, problems, conversations, transfer_set, tmp_path_factory):
    """Trains the tiny model; returns what training left behind."""
    from kdprobe.distill.distiller import TrainContext
    from kdprobe.host.registry import Host

    host = Host()

    def train(name, seed=0, transfer=transfer_set, scratch=None, **options):
        raw = {"epochs": 1, "batch_size": 2, "learning_rate": 1e-2, **options}
        distiller = host.build("distillers", name, host.options("distillers", name, raw))
        folder = tmp_path_factory.mktemp("training") / "adapter"
        context = TrainContext(
            student=tiny_record,
            dtype="float32",
            problems=problems,
            conversations=conversations,
            transfer=transfer if name != "fine-tune" else None,
            seed=seed,
            folder=folder,
            scratch=scratch,
        )
        return distiller.train(context)

    return train


@pytest.fixture(scope="session")
def same_weights():
    """Whether two trainings left the same weights, to the last bit."""
    from safetensors.numpy import load_file

    def same(first, second):
        a, b = (load_file(trained.adapter / "adapter_model.safetensors") for trained in (first, second))
        return a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)

    return same


@pytest.fixture(scope="session")
def mean_loss(torch, tiny_record, problems, conversations):
    """The untrained model's own loss on some gold solutions, a mean over all their tokens, in float64."""
    from kdprobe.models.conversation import prompt_ids, response_ids
    from kdprobe.models.load import load

    def mean(places):
        loaded = load(tiny_record)
        losses = []
        for problem in (problems[place] for place in places):
            prompt = prompt_ids(loaded.tokenizer, conversations[problem.id].student)
            response = response_ids(loaded.tokenizer, problem.plain_solution)
            with torch.inference_mode():
                logits = loaded.model(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
            logprobs = log_softmax(logits.double().numpy(), axis=-1)
            losses += (-logprobs[np.arange(len(response)), response]).tolist()
        return np.mean(losses)

    return mean


@pytest.fixture(scope="session")
def tiny_student(torch, tiny_record, tmp_path_factory):
    """Makes a student of the tiny model with a random adapter."""
    from peft import LoraConfig, get_peft_model

    from kdprobe.models.load import load
    from kdprobe.students.student import Student

    def make(modules, *, name="trained", size=0.2, seed=0, **options):
        folder = tmp_path_factory.mktemp("adapter")
        torch.manual_seed(seed)
        config = LoraConfig(**{"r": 2, "lora_alpha": 4, "task_type": "CAUSAL_LM", **options}, target_modules=modules)
        model = get_peft_model(load(tiny_record, dtype="float32").model, config)
        for parameter, weight in model.named_parameters():
            if "lora_B" in parameter:
                torch.nn.init.normal_(weight, std=size) if size else torch.nn.init.zeros_(weight)
        model.save_pretrained(folder)
        return Student(name, tiny_record, folder)

    return make
