/** Every head of every student under one measure at a time: a grid, the chosen head, a list, and curves by layer. */
import { useMemo, useState } from "preact/hooks";
import { Menu } from "../controls";
import type { HeadMeasure, ShownArm, ShownAttention } from "../payload";
import { Attention } from "./Attention";
import { Curves } from "./Curves";
import { Grid } from "./Grid";
import { Head } from "./Head";
import { Ranking } from "./Ranking";
import { Lead } from "./Lead";
import { causesFirst, leading, rangeOf } from "./measures";

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
  const shown = head !== null && head < grid.value.length ? head : (leading(grid).first ?? 0);
  const most = Math.max(...measures.map(({ students: measured }) => Object.keys(measured).length));
  return (
    <div class="heads">
      <div class="controls">
        <Menu
          wide
          label="Measure"
          value={chosen}
          options={measures.map(({ title, unit }, index) => [index, unit ? `${title}, ${unit}` : title])}
          choose={choose}
        />
        <Menu label="Student" value={student} options={students.map((each) => [each, each])} choose={setName} />
      </div>
      <Lead
        measure={measure}
        beside={besides(measure, measures)}
        arms={arms}
        student={student}
        grid={grid}
        signed={range.signed}
        open={setHead}
      />
      <p class="soft">{noteOf(measure, grid.exact !== null, students.length < most)}</p>
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

function noteOf({ against, table, students }: HeadMeasure, mixed: boolean, few: boolean): string {
  const causal = table === "ablation" || table === "patching";
  const notes = [
    against === null ? "" : `Paired difference from ${against}.`,
    table === "ablation" ? "Effects are changes in nats. A negative one means that the gold solution or value is less likely without the head." : "",
    table === "ablation" && few ? `Ablated: only ${Object.keys(students).join(", ")}, as configured (students = ${JSON.stringify(Object.keys(students))}).` : "",
    mixed ? "The effects of outlined heads were computed exactly; all others are first-order estimates." : "",
    against === null && !causal ? "Mean over problems, unless the measure is computed from the weights alone." : "",
  ];
  return notes.filter(Boolean).join(" ");
}
