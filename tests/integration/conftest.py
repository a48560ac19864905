"""Training the tiny model, and references for what training reports."""

import json
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax

TRAIN = Path(__file__).parent / "launched" / "train.py"


@pytest.fixture(scope="session")
def distil(torch, tiny_record, problems, conversations, transfer_set, tmp_path_factory):
    """Trains the tiny model; returns the result of training."""
    from kdprobe.distill.distiller import TrainContext
    from kdprobe.host.registry import Host

    host = Host()

    def train(name, seed=0, transfer=transfer_set, scratch=None, student=tiny_record, **options):
        raw = {"epochs": 1, "batch_size": 2, "learning_rate": 1e-2, **options}
        distiller = host.build("distillers", name, host.options("distillers", name, raw))
        folder = tmp_path_factory.mktemp("training") / "adapter"
        context = TrainContext(
            student=student,
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
    """Whether two training runs gave bit-identical weights."""
    from safetensors.numpy import load_file

    def same(first, second):
        a, b = (load_file(trained.adapter / "adapter_model.safetensors") for trained in (first, second))
        return a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)

    return same


@pytest.fixture(scope="session")
def mean_loss(torch, tiny_record, problems, conversations):
    """The untrained model's own loss on some gold solutions, averaged over all their tokens, in float64."""
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.models.load import load
    from kdprobe.models.turn import response_ids

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
def make_adapter(torch, tmp_path_factory):
    """Writes a random LoRA adapter, as `write_random_adapter` does, into a new folder; returns the folder."""
    from kdprobe.testing.models import write_random_adapter

    def make(model, seed, **config):
        folder = tmp_path_factory.mktemp("adapter") / f"adapter-{seed}"
        return write_random_adapter(model, folder, seed=seed, **config)

    return make


@pytest.fixture(scope="session")
def other_families(torch, tiny_model, tmp_path_factory):
    """Folders of random models of other architectures, with the tiny model's tokenizer."""
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        GPT2Config,
        GPTNeoConfig,
        GPTNeoXConfig,
        MambaConfig,
        MistralConfig,
        PersimmonConfig,
        Qwen2Config,
    )

    from kdprobe.testing.models import TINY_LLAMA, random_llama

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    shape = {"vocab_size": len(tokenizer), "initializer_range": 0.3, "eos_token_id": tokenizer.eos_token_id}
    wide = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    configs = {
        "gpt2": GPT2Config(**shape, n_embd=32, n_layer=2, n_head=4, n_positions=512, bos_token_id=None),
        "qwen2": Qwen2Config(**shape, **wide, num_key_value_heads=2, bos_token_id=None),
        "neox": GPTNeoXConfig(**shape, **wide, bos_token_id=None),
        "neo": GPTNeoConfig(
            **shape,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            max_position_embeddings=512,
            attention_types=[[["global", "local"], 1]],
            window_size=8,
            bos_token_id=None,
        ),
        "mistral": MistralConfig(**shape, **wide, num_key_value_heads=2, sliding_window=8, bos_token_id=None),
        # Neither can be probed.
        "persimmon": PersimmonConfig(**shape, **wide, bos_token_id=None),
        "mamba": MambaConfig(**shape, hidden_size=32, num_hidden_layers=2, bos_token_id=None),
    }
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
    models = {"dynamic": random_llama(**{**TINY_LLAMA, **shape}, max_position_embeddings=24, rope_parameters=rope)}
    for name, config in configs.items():
        torch.manual_seed(1)
        models[name] = AutoModelForCausalLM.from_config(config)
    folders = {}
    for name, model in models.items():
        folders[name] = tmp_path_factory.mktemp("families") / name
        model.save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="session")
def tiny_student(tiny_record, make_adapter):
    """Makes a student of the tiny model with a random adapter."""
    from kdprobe.students.student import Student

    def make(modules, **config):
        adapter = make_adapter(tiny_record.path, 0, target_modules=modules, **{"lora_alpha": 4, **config})
        return Student("trained", tiny_record, adapter)

    return make


@pytest.fixture(scope="session")
def parrot(torch, tiny_model, tmp_path_factory):
    """Writes a model that answers with one text, whose tokens must all differ; returns its folder.

    Every token decides the next: the embeddings are unit vectors, the output matrix says which follows, and attention
    and MLPs add nothing.
    """
    from transformers import AutoTokenizer

    from kdprobe.testing.models import CHAT_TEMPLATE, random_llama

    def make(text, *, special=(), added=("<think>", "</think>"), opening=False):
        tokenizer = AutoTokenizer.from_pretrained(tiny_model)
        tokenizer.add_tokens(list(added))
        tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
        begun = "<|im_start|>assistant\n<think>{% endif %}" if opening else "<|im_start|>assistant\n{% endif %}"
        tokenizer.chat_template = CHAT_TEMPLATE.replace("<|im_start|>assistant\n{% endif %}", begun)
        model = random_llama(
            vocab_size=len(tokenizer),
            hidden_size=512,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=8,
            num_key_value_heads=8,
            max_position_embeddings=1024,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
        )
        written = tokenizer(text, add_special_tokens=False)["input_ids"]
        last = tokenizer(prompt, add_special_tokens=False)["input_ids"][-1]
        path = [last, *written, tokenizer.eos_token_id]
        assert len(set(path)) == len(path)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "o_proj" in name or "down_proj" in name or "lm_head" in name:
                    weight.zero_()
            model.model.embed_tokens.weight.copy_(torch.eye(len(tokenizer), 512))
            for token, following in pairwise(path):
                model.lm_head.weight[following, token] = 1.0
        folder = tmp_path_factory.mktemp("parrot")
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """A tiny model whose tokenizer and chat template are of another family."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from kdprobe.testing.models import TINY_LLAMA, random_llama

    base = Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    base.decoder = decoders.ByteLevel()
    special, alphabet = ["<s>", "</s>", "<unk>"], pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    base.train_from_iterator(["zebras zigzag around azure azaleas and amazing mazes"] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=base, eos_token="</s>", pad_token="<unk>")
    tokenizer.chat_template = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}</s>{% endfor %}[assistant] "
    folder = tmp_path_factory.mktemp("stranger")
    random_llama(
        **TINY_LLAMA,
        vocab_size=len(tokenizer),
        max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        seed=3,
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tied_model(tiny_model, tmp_path_factory):
    """The tiny model's folder with its output layer tied to the embeddings."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("tied") / "model"
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def transfer(transfer_set, tmp_path_factory):
    """The transfer set on disk, where it is rounded."""
    from kdprobe.transfer.transfer_set import write

    folder = tmp_path_factory.mktemp("transfer")
    write(transfer_set, folder)
    return folder


@pytest.fixture(scope="session")
def launch(tiny_model, problems, transfer, tmp_path_factory):
    """Trains in two processes; returns both records of each training run, and the adapter's folder."""

    def run(*trainings, through):
        folder = tmp_path_factory.mktemp("launched")
        given = {"model": str(tiny_model), "problems": [problem.as_row() for problem in problems]}
        given |= {"transfer": str(transfer), "out": str(folder), "trainings": trainings}
        (folder / "given.json").write_text(json.dumps(given))
        finished = subprocess.run(
            [*through, str(TRAIN), str(folder / "given.json")], check=False, capture_output=True, text=True
        )
        assert finished.returncode == 0, finished.stderr[-3000:]
        return [
            ([json.loads((folder / f"{place}-rank{rank}.json").read_text()) for rank in (0, 1)], folder / f"{place}")
            for place in range(len(trainings))
        ]

    return run


@pytest.fixture(scope="session")
def packed_of(model_of, tmp_path_factory):
    """A model that stays quantised, and a plain one with the weights that its bits stand for.

    `kind` is `nf4` or `int8`; the weights are stored quantised, or quantised `on_load`.
    """
    pytest.importorskip("bitsandbytes")
    from kdprobe.models.reference import resolve
    from packing import write_packed, write_plain

    folders = {}
    # Rows of whole blocks of 64: with others, bitsandbytes decodes 4 bits wrongly on some CPUs.
    shapes = {"gpt2": {"n_embd": 64}, "gemma2": {"head_dim": 16}}
    wide = {"hidden_size": 64, "intermediate_size": 128}

    def make(architecture="llama", kind="nf4", *, on_load=False):
        changed = shapes.get(architecture, {})
        given = model_of(architecture, **(changed if architecture == "gpt2" else wide | changed)).path
        if (architecture, kind) not in folders:
            folder = folders[architecture, kind] = tmp_path_factory.mktemp("packed")
            write_plain(given, write_packed(given, folder / kind, kind), folder / "plain")
        folder = folders[architecture, kind]
        packed = resolve(str(given), quantization=kind) if on_load else resolve(str(folder / kind))
        return packed, resolve(str(folder / "plain"))

    return make


@pytest.fixture(scope="session")
def lora_of(packed_of, tmp_path_factory):
    """Writes a random LoRA on the attention of a model of an architecture; returns its folder."""
    from architecture_checks import write_adapter
    from architectures import attention_projections

    def make(architecture="llama"):
        folder = tmp_path_factory.mktemp("lora") / "taught"
        return write_adapter(packed_of(architecture)[1], attention_projections(architecture), folder)

    return make
