/** All that was measured of one head: the first student's values beside those of the chosen one. */
import { ArmName, armNamed } from "../arms";
import type { HeadGrid, HeadMeasure, ShownArm } from "../payload";
import { intervalOf, labelOf, rangeOf, written } from "./measures";

interface Props {
  measures: HeadMeasure[];
  arms: ShownArm[];
  student: string;
  index: number;
  grid: HeadGrid;
}

export function Head({ measures, arms, student, index, grid }: Props) {
  const alike = measures.filter(({ students }) => Object.values(students).some((other) => sameShape(other, grid)));
  const first = Object.keys(alike.find(({ table }) => table === "heads")?.students ?? {})[0];
  const columns = [...new Set([...(first === undefined ? [] : [first]), student])];
  const rows = alike.filter(({ students }) => columns.some((name) => students[name]));
  return (
    <div class="card scroll head-values" tabIndex={0}>
      <table class="head">
        <caption>
          Layer {Math.floor(index / grid.heads)}, head {index % grid.heads}, with 95% intervals
        </caption>
        <thead>
          <tr>
            <th scope="col">measure</th>
            {columns.map((name) => (
              <th key={name} scope="col">
                <ArmName arm={armNamed(arms, name)} />
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((measure, row) => {
            const { signed } = rangeOf(measure);
            return (
              <tr key={row}>
                <th scope="row">
                  {measure.title}
                  {measure.unit ? <span class="soft">, {measure.unit}</span> : null}
                </th>
                {columns.map((name) => (
                  <td key={name}>
                    <Value grid={measure.students[name]} index={index} signed={signed} />
                  </td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
      <p class="unseen" role="status">
        {labelOf(grid, index)}
      </p>
    </div>
  );
}

function Value({ grid, index, signed }: { grid: HeadGrid | undefined; index: number; signed: boolean }) {
  if (!grid) return <>–</>;
  const interval = intervalOf(grid, index, signed);
  return (
    <>
      <b>{written(grid.value[index] ?? null, signed)}</b>
      {interval ? <span class="soft whole"> ({interval})</span> : null}
      {grid.exact ? <span class="soft"> {grid.exact[index] ? "exact" : "first-order"}</span> : null}
      {grid.moved?.[index] ? <span class="soft"> moved</span> : null}
    </>
  );
}

function sameShape(one: HeadGrid, other: HeadGrid): boolean {
  return one.layers === other.layers && one.heads === other.heads;
}
