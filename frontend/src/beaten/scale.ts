/** Where numbers lie on an axis, and which of them are marked. */
import type { ShownInterval } from "../payload";

export interface Scale {
  low: number;
  high: number;
  ticks: number[];
}

const STEPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5];
const MOST_STEPS = 5;

/** A scale that spans all of these estimates with their intervals, and zero; its ends are marked. */
export function scaleOf(estimates: ShownInterval[], bounds: [number, number]): Scale {
  const ends = estimates.flatMap(({ value, low, high }) => [value, low ?? value, high ?? value]);
  const [least, most] = [Math.min(0, ...ends), Math.max(0, ...ends)];
  // Rounded before, so that 0.3 / 0.1 is 3.
  const below = (step: number) => Math.floor(+(least / step).toFixed(6));
  const above = (step: number) => Math.ceil(+(most / step).toFixed(6));
  const step = STEPS.find((each) => above(each) - below(each) <= MOST_STEPS) ?? 0.5;
  const low = Math.max(bounds[0], below(step) * step);
  const high = Math.min(bounds[1], Math.max(low + step, above(step) * step));
  const ticks: number[] = [];
  for (let tick = low; tick < high + step / 2; tick += step) ticks.push(+tick.toFixed(6));
  return { low, high, ticks };
}

/** The place of a value, in percent of the width. */
export function placeOf(value: number, { low, high }: Scale): number {
  return ((value - low) / (high - low)) * 100;
}
