/** Which head leads, in a sentence: of an ablation, for every student that was ablated. */
import { ArmName, armNamed } from "../arms";
import type { HeadGrid, HeadMeasure, HeadSet, ShownArm } from "../payload";
import { Term } from "../term";
import { intervalOf, isShown, labelOf, leading, phraseOf, written } from "./measures";
import { chance } from "./words";

/** Of more students than these, only the chosen one has a sentence. */
const SENTENCES = 4;

interface Props {
  measure: HeadMeasure;
  /** The same intervention's effect on the other of gold solution and gold value. */
  beside: HeadMeasure | undefined;
  arms: ShownArm[];
  student: string;
  signed: boolean;
  open: (student: string, index: number) => void;
}

export function Lead({ measure, beside, arms, student, signed, open }: Props) {
  const students = Object.keys(measure.students);
  const ablation = measure.table === "ablation";
  const told = ablation && students.length <= SENTENCES ? students : [student];
  return (
    <>
      <h3>{ablation ? "Which head matters most?" : <>{measure.title}: <ArmName arm={armNamed(arms, student)} /></>}</h3>
      {told.map((name) => {
        const grid = measure.students[name];
        const first = grid ? leading(grid) : null;
        if (!grid || first === null) return null;
        const head = (
          <button type="button" class="link" onClick={() => open(name, first)}>
            {ablation ? phraseOf(grid, first) : labelOf(grid, first)}
          </button>
        );
        const removing = <><Term of="ablation">removing</Term> {head}</>;
        const logP = <Term of="log-p">{onOf(measure)}</Term>;
        const effect = <Effect grid={grid} index={first} signed={signed} unit={measure.unit} />;
        return (
          <p key={name} class="lead">
            {ablation ? (
              <>
                In <ArmName arm={armNamed(arms, name)} />,{" "}
                {standsOut(grid, first, measure.top[name]) ? (
                  <>
                    {removing} changes {logP} by {effect}
                    {among(grid) ? `, the largest change${among(grid)}` : ""}
                  </>
                ) : (
                  <>
                    no head stands out; the largest change{among(grid)} comes from {removing}: {logP} changes by {effect}
                  </>
                )}
                .<Tested set={measure.top[name]} />
              </>
            ) : (
              <>
                The {signed ? "value of largest magnitude" : "largest value"} is that of {head}: {effect}.
              </>
            )}
            {beside ? <Beside measure={beside} grid={beside.students[name]} index={first} /> : null}
          </p>
        );
      })}
    </>
  );
}

/** Whether the student relies on a head: without it log p falls, and without the top heads more than without random ones. */
function standsOut(grid: HeadGrid, index: number, set: HeadSet | undefined): boolean {
  const lowers = (grid.value[index] ?? 0) < 0 && (isShown(grid, index) || grid.low[index] === null);
  return lowers && (set?.stands_out ?? true);
}

/** How many heads it leads, if more than itself. */
function among({ exact }: HeadGrid): string {
  const count = exact?.filter(Boolean).length ?? 0;
  return count > 1 ? ` among the ${count} heads whose effects were computed exactly` : "";
}

/** The test against chance. */
function Tested({ set }: { set: HeadSet | undefined }) {
  if (!set) return null;
  const { compared, least } = chance(set);
  return (
    <>
      {" "}
      {compared} (<Term of="random-sets">{`p\u00a0=\u00a0${set.p}`}</Term>
      {least}).
    </>
  );
}

/** What the same head does to the other of gold solution and gold value, and whether that is shown. */
function Beside({ measure, grid, index }: { measure: HeadMeasure; grid: HeadGrid | undefined; index: number }) {
  if (!grid) return null;
  return (
    <span class="soft">
      {" "}
      On {onOf(measure)}, the same head {isShown(grid, index) ? "has an effect of" : "has no significant effect:"}{" "}
      {`${written(grid.value[index] ?? null, true)} ${measure.unit}`.trim()} (95% CI {intervalOf(grid, index, true) || "unknown"}).
    </span>
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
  const method = grid.exact ? <Term of="exact">{grid.exact[index] ? "computed exactly" : "a first-order estimate"}</Term> : null;
  return (
    <>
      <b>{`${written(grid.value[index] ?? null, signed)} ${unit}`.trim()}</b>
      {interval || method ? (
        <>
          {" ("}
          {interval ? `95% CI ${interval}` : ""}
          {interval && method ? "; " : ""}
          {method}
          {")"}
        </>
      ) : null}
    </>
  );
}

/** What was measured, without how. */
function onOf({ title }: HeadMeasure): string {
  return title.slice(title.indexOf(": ") + 2);
}
