/** An estimate as a dot on a line, its interval, with zero and the scale behind. */
import { colourOf } from "../arms";
import type { ShownArm, ShownInterval } from "../payload";
import { placeOf, type Scale } from "./scale";

interface Props {
  estimate: ShownInterval;
  scale: Scale;
  arm: ShownArm;
}

/** Purely visual: the same numbers are next to it as text. */
export function Estimate({ estimate, scale, arm }: Props) {
  const at = (value: number) => `${placeOf(value, scale)}%`;
  const { low, high, value } = estimate;
  const colour = colourOf(arm);
  return (
    <svg class="estimate" width="100%" height="28" aria-hidden="true">
      {scale.ticks.map((tick) => (
        <line key={tick} class={tick === 0 ? "zero" : "tick"} x1={at(tick)} x2={at(tick)} y1="0" y2="28" />
      ))}
      {low === null || high === null ? null : (
        <g style={{ stroke: colour }}>
          <line x1={at(low)} x2={at(high)} y1="14" y2="14" stroke-width="3" />
          <line x1={at(low)} x2={at(low)} y1="8" y2="20" stroke-width="2" />
          <line x1={at(high)} x2={at(high)} y1="8" y2="20" stroke-width="2" />
        </g>
      )}
      <circle
        cx={at(value)}
        cy="14"
        r="4.5"
        style={{ stroke: colour, fill: arm.hollow ? "var(--ground)" : colour }}
        stroke-width="2"
      />
    </svg>
  );
}

export function Axis({ scale, sign }: { scale: Scale; sign: boolean }) {
  return (
    <svg class="estimate axis" width="100%" height="18" aria-hidden="true">
      {scale.ticks.map((tick) => (
        <text key={tick} x={`${placeOf(tick, scale)}%`} y="13" text-anchor="middle">
          {sign && tick > 0 ? "+" : ""}
          {Math.round(tick * 100)}
        </text>
      ))}
    </svg>
  );
}
