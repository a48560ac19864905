/** Every head of every student under one measure at a time: a grid, the chosen head, a list, and curves by layer. */
import { useMemo, useState } from "preact/hooks";
import { Menu } from "../controls";
import type { HeadGrid, HeadMeasure, ShownArm, ShownAttention } from "../payload";
import { Attention } from "./Attention";
import { Curves } from "./Curves";
import { Grid } from "./Grid";
import { Head } from "./Head";
import { Ranking } from "./Ranking";
import { Lead } from "./Lead";
import { causesFirst, leading, rangeOf } from "./measures";
import { enumerated } from "./words";

interface Props {
  measures: HeadMeasure[];
  arms: ShownArm[];
  attention: ShownAttention | null;
}

export function Heads({ measures: all, arms, attention }: Props) {
  const measures = useMemo(() => causesFirst(all), [all]);
  const [chosen, choose] = useState(0);
  const [name, setName] = useState("");
  const [head, setHead] = useState<number | null>(null);
  const measure = measures[chosen];
  const range = useMemo(() => measure && rangeOf(measure), [measure]);
  if (!measure || !range) return null;
  const students = Object.keys(measure.students);
  const student = students.includes(name) ? name : (students.at(-1) ?? "");
  const grid = measure.students[student];
  if (!grid) return null;
  const shown = head !== null && head < grid.value.length ? head : (leading(grid) ?? 0);
  const most = Math.max(...measures.map(({ students: measured }) => Object.keys(measured).length));
  return (
    <div class="heads">
      <div class="controls">
        <Menu
          wide
          label="Measure"
          value={chosen}
          options={measures.map(({ title, unit }, index) => [index, unit ? `${title} (${unit})` : title])}
          choose={choose}
        />
        <Menu label="Student" value={student} options={students.map((each) => [each, each])} choose={setName} />
      </div>
      <Lead
        measure={measure}
        beside={besides(measure, measures)}
        arms={arms}
        student={student}
        signed={range.signed}
        open={(of, index) => {
          setName(of);
          setHead(index);
        }}
      />
      {notesOf(measure, grid, student, arms[0]?.name ?? "", students.length < most).map((notes, index) => (
        <p key={index} class="soft">
          {notes}
        </p>
      ))}
      <div class="two">
        <Grid grid={grid} range={range} unit={measure.unit} shown={shown} open={setHead} />
        <Head measures={measures} arms={arms} student={student} index={shown} grid={grid} />
      </div>
      <div class="two">
        <Ranking grid={grid} signed={range.signed} shown={shown} open={setHead} />
        <Curves measure={measure} arms={arms} />
      </div>
      {attention ? <Attention attention={attention} arms={arms} student={student} head={shown} /> : null}
    </div>
  );
}

/** The same intervention's effect on the other of gold solution and gold value. */
function besides({ table, metric }: HeadMeasure, measures: HeadMeasure[]): HeadMeasure | undefined {
  return table === "ablation" ? measures.find((other) => other.table === table && other.metric !== metric) : undefined;
}

/** Two paragraphs: what the measure is; and what is exact, and what is missing. */
function notesOf(measure: HeadMeasure, grid: HeadGrid, student: string, first: string, few: boolean): string[] {
  const { against, table, metric, students } = measure;
  const names = Object.keys(students);
  const causal = table === "ablation" || table === "patching";
  const meaning = [
    against === null ? "" : `Paired difference from ${against}.`,
    metric.startsWith("log_p_gold") ? TARGETS : "",
    table === "ablation" ? "A negative effect means that the gold text is less likely without the head: the student relies on this head." : "",
    against === null && !causal ? (MADE_OF[table] ?? MEANS) : "",
  ];
  const reach = [
    grid.exact ? exactNote(grid.exact, first, measure.top[student]?.heads, measure.diverged[student]?.heads) : "",
    table === "ablation" && few ? `Heads were ablated only in ${enumerated(names)}.` : "",
  ];
  return [meaning, reach].map((notes) => notes.filter(Boolean).join(" ")).filter(Boolean);
}

/** Both are explained for either measure, because the sentence about one names the other. */
const TARGETS =
  "log p(gold solution) is the log-probability that the student assigns to the whole worked solution. log p(gold value) is the log-probability of the final number, given the worked solution before it. Both are summed over tokens.";

const MEANS = "Values are means over problems, except in measures of weights alone, which involve no problems.";
/** What the values are in tables whose values are not means over problems. */
const MADE_OF: Record<string, string> = {
  geometry: "Values are computed from weights alone, without problems.",
  association: "Correct and wrong answers are compared among problems of similar length; 0.5 means no association.",
};

/** Which effects were computed exactly, and what is known of the others. */
function exactNote(exact: boolean[], first: string, top: number | undefined, diverged: number | undefined): string {
  const count = exact.filter(Boolean).length;
  const rest = exact.length - count;
  const chosen =
    top && diverged && count <= top + diverged
      ? ` (the ${top === 1 ? "one" : top} whose ablation is estimated to lower log p most, and the ${diverged === 1 ? "one" : diverged} whose attention diverged most from that of ${first})`
      : "";
  if (!rest) return `The effects of all ${count} heads${chosen} were computed exactly.`;
  const outlined = count === 1 ? "effect of the outlined head was" : `effects of the ${count} outlined heads${chosen} were`;
  const others = rest === 1 ? "The other head has only an estimate (≈)" : `The other ${rest} heads have only estimates (≈)`;
  return `The ${outlined} computed exactly. ${others}, which can be far off for large effects, so ${rest === 1 ? "it ranks" : "they rank"} below the outlined ${count === 1 ? "head" : "heads"}.`;
}
