/** The question that the grid answers, of which student, and which head leads. */
import { ArmName, armNamed } from "../arms";
import type { HeadGrid, HeadMeasure, ShownArm } from "../payload";
import { Term } from "../term";
import { intervalOf, labelOf, leading, written } from "./measures";

interface Props {
  measure: HeadMeasure;
  /** What is said beside it of the same head. */
  beside: HeadMeasure | undefined;
  arms: ShownArm[];
  student: string;
  grid: HeadGrid;
  signed: boolean;
  open: (index: number) => void;
}

export function Lead({ measure, beside, arms, student, grid, signed, open }: Props) {
  const { first, second, exact } = leading(grid);
  const name = <ArmName arm={armNamed(arms, student)} />;
  const head = (index: number) => (
    <>
      <button type="button" class="link" onClick={() => open(index)}>
        {labelOf(grid, index)}
      </button>
      : <Effect grid={grid} index={index} signed={signed} unit={measure.unit} />
    </>
  );
  const same = beside?.students[student];
  const ablation = measure.table === "ablation";
  return (
    <>
      <h3>{ablation ? <>Which head matters most in {name}?</> : <>{measure.title}: {name}</>}</h3>
      {first === null ? null : (
        <p class="lead">
          {ablation ? (
            <>
              The largest effect of <Term of="ablation">ablation</Term> on{" "}
              <Term of="log-p">{onOf(measure)}</Term> is that of{" "}
            </>
          ) : (
            "Largest: "
          )}
          {head(first)}.
          {beside && same ? (
            <>
              {" "}
              On {onOf(beside)}, the same head: <Effect grid={same} index={first} signed unit={beside.unit} />.
            </>
          ) : null}
        </p>
      )}
      {exact === null || exact === first ? null : <p class="lead">Largest of those computed exactly: {head(exact)}.</p>}
      {second !== null && first !== null && grid.exact?.[first] && !grid.exact[second] ? (
        <p class="soft">Next comes {head(second)}.</p>
      ) : null}
    </>
  );
}

interface EffectProps {
  grid: HeadGrid;
  index: number;
  signed: boolean;
  unit: string;
}

function Effect({ grid, index, signed, unit }: EffectProps) {
  const interval = intervalOf(grid, index, signed);
  return (
    <>
      <b>{`${written(grid.value[index] ?? null, signed)} ${unit}`.trim()}</b>
      {interval ? ` (95% CI ${interval})` : ""}
      {grid.exact ? (
        <>
          {", "}
          <Term of="exact">{grid.exact[index] ? "exact" : "a first-order estimate"}</Term>
        </>
      ) : null}
    </>
  );
}

/** What was measured, without how. */
function onOf({ title }: HeadMeasure): string {
  return title.slice(title.indexOf(": ") + 2);
}
