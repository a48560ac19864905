"""Step-back prompting as a priming: the teacher names the principle before it solves the problem.

After Zheng et al., "Take a Step Back" (2023), arXiv 2310.06117.
"""

from kdprobe import Problem, PromptPair, StrategySpec, hookimpl


def build(options):  # noqa: ANN001, ANN201, ARG001, D103
    def render(problem: Problem) -> PromptPair:
        return PromptPair(
            teacher=[{"role": "user", "content": f"Name the principle first. {problem.question}"}],
            student=[{"role": "user", "content": problem.question}],
        )

    return render


@hookimpl
def kdprobe_strategies():  # noqa: ANN201, D103
    yield StrategySpec(name="step-back", summary="Principle first, then the solution", build=build)
