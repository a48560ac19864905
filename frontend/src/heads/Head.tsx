/** All that was measured of one head: its effects, and its values in the first student and in the chosen one. */
import type { ComponentChild } from "preact";
import { ArmName, armNamed } from "../arms";
import type { HeadGrid, HeadMeasure, ShownArm } from "../payload";
import { Term } from "../term";
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
  const metrics = alike.filter(({ table }) => table === "heads");
  const others = alike.filter(({ table, students }) => table !== "heads" && table !== "differences" && students[student]);
  const first = Object.keys(metrics[0]?.students ?? {})[0];
  const columns = [...new Set([...(first === undefined ? [] : [first]), student])].filter((name) =>
    metrics.some(({ students }) => students[name]),
  );
  const changeOf = ({ metric }: HeadMeasure) =>
    alike.find((measure) => measure.table === "differences" && measure.metric === metric && measure.students[student]);
  const changed = metrics.some(changeOf);
  return (
    <div class="card scroll head-values" tabIndex={0}>
      <p class="soft">
        Layer {Math.floor(index / grid.heads)}, head {index % grid.heads}, with 95% intervals
      </p>
      {others.length ? (
        <Values heading={["measure", <ArmName key="student" arm={armNamed(arms, student)} />]}>
          {others.map((measure, row) => (
            <Row key={row} measure={measure}>
              <Value measure={measure} student={student} index={index} />
            </Row>
          ))}
        </Values>
      ) : null}
      {columns.length ? (
        <Values
          heading={[
            "measure",
            ...columns.map((name) => <ArmName key={name} arm={armNamed(arms, name)} />),
            ...(changed ? ["change"] : []),
          ]}
        >
          {metrics.map((measure, row) => (
            <Row key={row} measure={measure}>
              {columns.map((name) => (
                <Value key={name} measure={measure} student={name} index={index} />
              ))}
              {changed ? <Value measure={changeOf(measure)} student={student} index={index} /> : null}
            </Row>
          ))}
        </Values>
      ) : null}
      <p class="unseen" role="status">
        {labelOf(grid, index)}
      </p>
    </div>
  );
}

function Values({ heading, children }: { heading: ComponentChild[]; children: ComponentChild }) {
  return (
    <table class="head" style={{ "--columns": heading.length - 1 }}>
      <thead>
        <tr>
          {heading.map((name, column) => (
            <th key={column} scope="col">
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>{children}</tbody>
    </table>
  );
}

function Row({ measure, children }: { measure: HeadMeasure; children: ComponentChild }) {
  return (
    <tr>
      <th scope="row">
        {measure.title}
        {measure.unit ? <span class="soft"> ({measure.unit})</span> : null}
      </th>
      {children}
    </tr>
  );
}

function Value({ measure, student, index }: { measure: HeadMeasure | undefined; student: string; index: number }) {
  const grid = measure?.students[student];
  if (!measure || !grid) return <td>–</td>;
  const { signed } = rangeOf(measure);
  const interval = intervalOf(grid, index, signed);
  return (
    <td>
      <b>{written(grid.value[index] ?? null, signed)}</b>
      {interval ? <span class="soft whole"> ({interval})</span> : null}
      {grid.exact ? (
        <span class="soft">
          {" "}
          <Term of="exact">{grid.exact[index] ? "exact" : "estimate"}</Term>
        </span>
      ) : null}
      {grid.moved?.[index] ? (
        <span class="soft">
          {" "}
          <Term of="moved">moved</Term>
        </span>
      ) : null}
    </td>
  );
}

function sameShape(one: HeadGrid, other: HeadGrid): boolean {
  return one.layers === other.layers && one.heads === other.heads;
}
