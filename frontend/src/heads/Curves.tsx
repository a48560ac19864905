/** A measure's means by layer, a line per student, as differences from the first one where it has values too. */
import { ArmName, armNamed, colourOf } from "../arms";
import type { HeadMeasure, ShownArm } from "../payload";
import { curves, written } from "./measures";

const [WIDTH, HEIGHT, LEFT, BOTTOM] = [560, 240, 96, 26];

export function Curves({ measure, arms }: { measure: HeadMeasure; arms: ShownArm[] }) {
  const { against, lines } = curves(measure);
  const students = Object.keys(lines);
  const mixed = Object.values(measure.students).some(({ exact }) => exact?.includes(false));
  const known = Object.values(lines).flatMap((line) => line.filter((value) => value !== null));
  const layers = Math.max(0, ...Object.values(lines).map((line) => line.length));
  if (!known.length || layers < 2) return null;
  const [least, most] = [Math.min(0, ...known), Math.max(0, ...known)];
  const x = (layer: number) => LEFT + (layer / (layers - 1)) * (WIDTH - LEFT - 12);
  const y = (value: number) => 12 + ((most - value) / (most - least || 1)) * (HEIGHT - BOTTOM - 24);
  const signed = least < 0;
  const ends = [...new Set([least, 0, most])];
  return (
    <figure class="card">
      <figcaption>
        Mean over the heads of each layer{mixed ? ", estimates included" : ""}
        {against === null ? "" : `, minus ${against}`}
        {measure.unit ? ` (${measure.unit})` : ""}
      </figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width="100%" role="img" aria-label={`${measure.title} by layer`}>
        {ends.map((end) => (
          <g key={end}>
            <line class={end === 0 ? "zero" : "tick"} x1={LEFT} x2={WIDTH - 12} y1={y(end)} y2={y(end)} />
            <text x={LEFT - 6} y={y(end) + 4} text-anchor="end">
              {written(end, signed)}
            </text>
          </g>
        ))}
        {[0, layers - 1].map((layer) => (
          <text key={layer} x={x(layer)} y={HEIGHT - 4} text-anchor="middle">
            {layer ? layer : "layer 0"}
          </text>
        ))}
        {students.map((student) => (
          <path
            key={student}
            d={pathOf(lines[student] ?? [], x, y)}
            style={{ stroke: colourOf(armNamed(arms, student)) }}
            stroke-dasharray={armNamed(arms, student).hollow ? "5 3" : undefined}
          />
        ))}
      </svg>
      <p class="key">
        {students.map((student) => (
          <ArmName key={student} arm={armNamed(arms, student)} />
        ))}
      </p>
      <details class="numbers">
        <summary>Table</summary>
        <div class="scroll tall" tabIndex={0}>
          <table>
            <thead>
              <tr>
                <th scope="col">layer</th>
                {students.map((student) => (
                  <th key={student} scope="col">
                    {student}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {Array.from({ length: layers }, (_, layer) => (
                <tr key={layer}>
                  <th scope="row">{layer}</th>
                  {students.map((student) => (
                    <td key={student}>{written(lines[student]?.[layer] ?? null, signed)}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </figure>
  );
}

/** A line that stops at unknown values. */
function pathOf(line: (number | null)[], x: (layer: number) => number, y: (value: number) => number): string {
  let path = "";
  let command = "M";
  line.forEach((value, layer) => {
    if (value === null) {
      command = "M";
      return;
    }
    path += `${command}${x(layer).toFixed(1)} ${y(value).toFixed(1)}`;
    command = "L";
  });
  return path;
}
