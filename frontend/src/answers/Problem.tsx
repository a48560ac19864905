/** A problem, and what every arm answered. */
import type { Answers, ShownArm, Teaching } from "../payload";
import type { Choice } from "./choose";
import { type Kind, linkTo } from "./link";
import { Cards, Gold } from "./Shown";
import { Taught } from "./Taught";

/** More arms than these are folded away, but for the two that are compared. */
const OPEN = 4;

const LABELS: Record<Kind, string> = { problem: "The chosen problem", taught: "The chosen training problem" };

interface Props {
  kind: Kind;
  answers: Answers;
  arms: ShownArm[];
  choice: Choice;
  index: number;
  teaching: Teaching | null;
}

export function Problem({ kind, answers, arms, choice, index, teaching }: Props) {
  const problem = answers.problems[index];
  if (!problem) return null;
  const pair = [...new Set([choice.a, choice.b])];
  const others = arms.flatMap((_, place) => (pair.includes(place) || !answers.arms[place]?.[index] ? [] : [place]));
  const cards = (places: number[]) => (
    <Cards answers={answers} arms={arms} index={index} places={places} teacher={kind === "taught"} />
  );
  return (
    <section class="problem" aria-label={LABELS[kind]} tabIndex={-1}>
      <p class="soft">
        <a href={linkTo(kind, problem.id)} title="A link to this problem">
          <bdi>{problem.id}</bdi>
        </a>
        {problem.group ? (
          <>
            {" · "}
            <bdi>{problem.group}</bdi>
          </>
        ) : null}
      </p>
      <p class="asked" dir="auto">
        {problem.question}
      </p>
      <Gold value={problem.gold} />
      {problem.solution === null ? null : (
        <details>
          <summary>Gold solution</summary>
          <pre dir="auto">{problem.solution}</pre>
        </details>
      )}
      {cards(pair)}
      {others.length > OPEN ? (
        <details>
          <summary>The other {others.length} arms</summary>
          {cards(others)}
        </details>
      ) : (
        cards(others)
      )}
      {teaching ? <Taught teaching={teaching} group={problem.group} /> : null}
    </section>
  );
}
