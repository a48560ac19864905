"""For every family, without a run: where generation stops, and how gold texts begin and end."""

import pytest
from families import FAMILIES

from kdprobe.testing import some_problems

STEPS = 3


@pytest.fixture(params=FAMILIES, scope="module")
def family(request):
    return request.param


@pytest.fixture(scope="module")
def record(family, models):
    from dataclasses import replace

    from kdprobe.models.conversation import Conversation
    from kdprobe.models.reference import resolve

    conversation = Conversation(template_arguments=FAMILIES[family].arguments)
    return replace(resolve(str(models(family))), conversation=conversation)


@pytest.fixture(scope="module")
def student(record):
    from kdprobe.models.load import load

    return load(record, dtype="float32")


@pytest.fixture
def writing(torch):
    """Makes a model write its most probable tokens, except for a chosen third one, and no end before it."""

    def install(model, token, ends):
        steps = []

        def change(_module, _inputs, logits):
            if len(steps) < STEPS:
                logits[..., sorted(ends)] = -1e9
            steps.append(1)
            if len(steps) == STEPS:
                logits[..., token] = 1e9
            return logits

        return model.lm_head.register_forward_hook(change)

    return install


def test_every_end_stops_teachers_and_evaluations(family, student, writing):
    from kdprobe.evaluation.lm_eval_run import evaluate
    from kdprobe.evaluation.protocol import Protocol
    from kdprobe.strategies.prompt_pair import bare
    from kdprobe.teachers.teacher import Request, Sampling
    from kdprobe.teachers.transformers_teacher import TransformersOptions, TransformersTeacher

    problems = some_problems(2)
    teacher = TransformersTeacher(TransformersOptions(model=str(student.record.path), dtype="float32"))
    teacher.conversation = student.record.conversation
    teacher._loaded = student
    requests = [Request(problem.id, bare(problem)) for problem in problems]
    texts = FAMILIES[family].ends
    ends = student.tokenizer.convert_tokens_to_ids(list(texts))
    assert student.eos_ids == set(ends)
    for end in ends:
        hook = writing(student.model, end, ends)
        answers = list(teacher.respond(requests, Sampling(max_new_tokens=6, top_logprobs=4)))
        hook.remove()
        assert [(answer.finished, len(answer.token_ids), answer.token_ids[-1]) for answer in answers] == [
            (True, STEPS, end)
        ] * 2
        hook = writing(student.model, end, ends)
        records = evaluate(student, problems, Protocol(max_new_tokens=6, batch_size=2), label="matrix")
        hook.remove()
        assert [(record["cut_off"], record["tokens"]) for record in records] == [(False, STEPS)] * 2


def test_prompts_rendered_together_are_those_of_apply_chat_template(family, student):
    from kdprobe.models.conversation import PLAIN_FORM
    from kdprobe.models.outline.batches import prompt_texts, texts_ids
    from kdprobe.strategies.prompt_pair import bare

    tokenizer = student.tokenizer
    questions = [problem.question for problem in some_problems(40)]
    questions += ["Ünïcödé ½ 😀?", "{{ x }} {% raw %}", "  two\n\nlines  ", "<|im_end|><eos>", "1,000.5 €"]
    conversations = [[{"role": "user", "content": question}] for question in questions]
    conversations += [[{"role": "system", "content": "Be brief."}, *bare(problem)] for problem in some_problems(3)]
    conversations += [[*asked, {"role": "assistant", "content": "4."}, *asked] for asked in conversations[:3]]
    texts = prompt_texts(tokenizer, conversations)
    ids = texts_ids(tokenizer, texts)
    if not tokenizer.chat_template:
        forms = ["\n\n".join(message["content"] for message in messages) for messages in conversations]
        assert texts == [PLAIN_FORM.replace("{question}", form) for form in forms]
        assert ids == [tokenizer(text)["input_ids"] for text in texts]
        return
    for messages, text, tokens in zip(conversations, texts, ids, strict=True):
        told = {"add_generation_prompt": True, "return_dict": False}
        assert text == tokenizer.apply_chat_template(messages, tokenize=False, **told)
        assert tokens == tokenizer.apply_chat_template(messages, tokenize=True, **told)


def test_gold_texts_begin_and_end_as_the_template_writes_an_assistants_turn(family, student):
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.models.turn import assistant_turn, response_ids
    from kdprobe.strategies.prompt_pair import bare

    known, tokenizer = FAMILIES[family], student.tokenizer
    for problem in some_problems(3):
        ids = [*prompt_ids(tokenizer, bare(problem)), *response_ids(tokenizer, problem.plain_solution)]
        answered = [*bare(problem), {"role": "assistant", "content": problem.plain_solution}]
        if tokenizer.chat_template:
            whole = tokenizer.apply_chat_template(answered, tokenize=False)
        else:
            whole = f"Question: {problem.question}\nAnswer: {problem.plain_solution}{known.end}"
        assert whole.startswith(tokenizer.decode(ids))
        assert tokenizer.decode(ids).endswith(f"{known.opens}{problem.plain_solution}{known.end}")
        # What a student reads while it learns are the tokens of the whole conversation as it is written.
        assert tokenizer(whole, add_special_tokens=False)["input_ids"][: len(ids)] == ids
    assert assistant_turn(tokenizer).reconciled


def test_gold_solutions_are_scored_after_the_prompt_and_what_opens_the_turn(family, student):
    from kdprobe.students.sequence import problem_sequence

    (problem,) = some_problems(1)
    sequence = problem_sequence(student.tokenizer, problem)
    known = FAMILIES[family]
    assert student.tokenizer.decode(sequence.solution).strip() == problem.plain_solution
    before = known.opens if student.tokenizer.chat_template else ""
    assert student.tokenizer.decode(sequence.prompt).endswith(before)
    value = "".join(student.tokenizer.decode([sequence.ids[token]]) for token in sequence.value)
    assert value.strip() == problem.value


def test_the_tokens_of_a_priming_are_those_of_its_text(record):
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.models.load import load_tokenizer
    from kdprobe.probing.priming.heads.layout import layouts
    from kdprobe.strategies.plugin import TEACHER
    from kdprobe.strategies.prompt_pair import bare

    tokenizer = load_tokenizer(record)
    for problem in some_problems(3):
        said = [{"role": "user", "content": f"{TEACHER}\n\n{problem.question}"}]
        primed, plain = layouts(tokenizer, problem, prompt_ids(tokenizer, said), prompt_ids(tokenizer, bare(problem)))
        question, asked = (
            tokenizer.decode([layout.ids[position] for position in layout.question]).strip()
            for layout in (primed, plain)
        )
        assert question == asked
        # A border token that is written together with other text belongs to neither.
        assert problem.question.endswith(question)
        assert len(question) >= len(problem.question) - len("Tom ")
        assert tokenizer.decode([primed.ids[position] for position in primed.priming]).strip() == TEACHER
