/** Next to the answers to a test problem: the teacher's answers to a training problem of the same group. */
import type { Teaching } from "../payload";
import { linkTo } from "./link";
import { Cards, Gold } from "./Shown";

interface Props {
  teaching: Teaching;
  /** The group of the test problem. */
  group: string | null;
}

export function Taught({ teaching: { answers, arms }, group }: Props) {
  const index = group === null ? -1 : (answers?.problems.findIndex((problem) => problem.group === group) ?? -1);
  const problem = answers?.problems[index];
  if (!answers || !problem) return null;
  return (
    <details class="taught-beside" open>
      <summary>The teacher on a training problem from {group}</summary>
      <p class="soft">
        The teacher was not given the problem above. This one is from the same template:{" "}
        <a href={linkTo("taught", problem.id)}>
          <bdi>{problem.id}</bdi>
        </a>
      </p>
      <p dir="auto">{problem.question}</p>
      <Gold value={problem.gold} />
      <Cards answers={answers} arms={arms} index={index} places={[...arms.keys()]} teacher />
    </details>
  );
}
