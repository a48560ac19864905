/** The question that the grid answers, of which student, and which head leads. */
import { ArmName, armNamed } from "../arms";
import type { HeadGrid, HeadMeasure, ShownArm } from "../payload";
import { Term } from "../term";
import { intervalOf, labelOf, leading, written } from "./measures";

interface Props {
  measure: HeadMeasure;
  arms: ShownArm[];
  student: string;
  grid: HeadGrid;
  signed: boolean;
  open: (index: number) => void;
}

export function Lead({ measure, arms, student, grid, signed, open }: Props) {
  const { first, exact } = leading(grid);
  const name = <ArmName arm={armNamed(arms, student)} />;
  const head = (index: number) => {
    const interval = intervalOf(grid, index, signed);
    return (
      <>
        <button type="button" class="link" onClick={() => open(index)}>
          {labelOf(grid, index)}
        </button>
        : <b>{`${written(grid.value[index] ?? null, signed)} ${measure.unit}`.trim()}</b>
        {interval ? ` (95% CI ${interval})` : ""}
        {grid.exact ? (
          <>
            {", "}
            <Term of="exact">{grid.exact[index] ? "exact" : "a first-order estimate"}</Term>
          </>
        ) : null}
      </>
    );
  };
  const ablation = measure.table === "ablation";
  return (
    <>
      <h3>{ablation ? <>Which head matters most in {name}?</> : <>{measure.title}: {name}</>}</h3>
      {first === null ? null : (
        <p class="lead">
          {ablation ? (
            <>
              The largest effect of <Term of="ablation">ablation</Term> is that of{" "}
            </>
          ) : (
            "Largest: "
          )}
          {head(first)}.
        </p>
      )}
      {exact === null || exact === first ? null : <p class="lead">Largest of those computed exactly: {head(exact)}.</p>}
    </>
  );
}
