/** How many problems both arms solved, only one, or neither; with one arm, how many it solved. A click shows them. */
import { ArmName } from "../arms";
import type { ShownArm } from "../payload";
import type { Counts as Count, Outcome } from "./choose";

interface Props {
  arms: [ShownArm, ShownArm?];
  counts: Count;
  outcome: Outcome | null;
  choose: (outcome: Outcome | null) => void;
}

export function Counts({ arms: [a, b], counts, outcome, choose }: Props) {
  const cell = (name: Outcome, title: string) => (
    <td class={name.startsWith("only") ? "disagree" : ""}>
      <button
        type="button"
        aria-pressed={outcome === name}
        aria-label={`${title}: ${counts[name]}`}
        title={title}
        onClick={() => choose(outcome === name ? null : name)}
      >
        {counts[name]}
      </button>
    </td>
  );
  if (!b)
    return (
      <table class="counts">
        <caption>Click a number to see those problems</caption>
        <thead>
          <tr>
            <th scope="col">right</th>
            <th scope="col">wrong</th>
          </tr>
        </thead>
        <tbody>
          <tr>
            {cell("both", "Solved")}
            {cell("neither", "Not solved")}
          </tr>
        </tbody>
      </table>
    );
  return (
    <table class="counts">
      <caption>Problems by who solved them; click a number to see them</caption>
      <thead>
        <tr>
          <td />
          <th scope="col">
            <ArmName arm={b} /> right
          </th>
          <th scope="col">wrong</th>
        </tr>
      </thead>
      <tbody>
        <tr>
          <th scope="row">
            <ArmName arm={a} /> right
          </th>
          {cell("both", "Solved by both")}
          {cell("only a", `Solved only by ${a.name}`)}
        </tr>
        <tr>
          <th scope="row">wrong</th>
          {cell("only b", `Solved only by ${b.name}`)}
          {cell("neither", "Solved by neither")}
        </tr>
      </tbody>
    </table>
  );
}
