/** Reading and ordering the values of heads. */
import type { HeadGrid, HeadMeasure } from "../payload";

export const ORDERS = {
  size: "Largest magnitude first",
  high: "Highest value first",
  low: "Lowest value first",
  layer: "By layer and head",
} as const;
export type Order = keyof typeof ORDERS;

/** Indexes of the heads with a value, in order; by value, those with exact effects before all estimates. */
export function ordered({ value, exact }: HeadGrid, order: Order): number[] {
  const known = value.flatMap((cell, index) => (cell === null ? [] : [{ index, cell }]));
  const key: Record<Order, (head: { index: number; cell: number }) => number> = {
    size: ({ cell }) => -Math.abs(cell),
    high: ({ cell }) => -cell,
    low: ({ cell }) => cell,
    layer: ({ index }) => index,
  };
  const estimated = ({ index }: { index: number }) => (exact && order !== "layer" && !exact[index] ? 1 : 0);
  return known
    .sort((one, other) => estimated(one) - estimated(other) || key[order](one) - key[order](other))
    .map(({ index }) => index);
}

/** The head with the largest value, among those with exact effects if there are any; `null` if there is none. */
export function leading(grid: HeadGrid): number | null {
  return ordered(grid, "size")[0] ?? null;
}

/** Whether an interval lies on one side of zero. */
export function isShown({ low, high }: HeadGrid, index: number): boolean {
  const [from, to] = [low[index] ?? null, high[index] ?? null];
  return from !== null && to !== null && (from > 0 || to < 0);
}

const CAUSES = ["ablation", "patching"];

/** Measures of what heads cause before measures of what they look like. */
export function causesFirst(measures: HeadMeasure[]): HeadMeasure[] {
  const place = ({ table }: HeadMeasure) => (CAUSES.includes(table) ? CAUSES.indexOf(table) : CAUSES.length);
  return [...measures].sort((one, other) => place(one) - place(other));
}

/** The ends of the colour scale: around zero where a measure has both signs. */
export function rangeOf(measure: HeadMeasure): { least: number; most: number; signed: boolean } {
  const known = Object.values(measure.students).flatMap(({ value }) => value.filter((cell) => cell !== null));
  const [least, most] = [known.reduce((a, b) => Math.min(a, b), Infinity), known.reduce((a, b) => Math.max(a, b), -Infinity)];
  const signed = least < 0;
  const limit = Math.max(Math.abs(least), Math.abs(most));
  return signed ? { least: -limit, most: limit, signed } : { least, most, signed };
}

/** A value's colour, mixed from the page's own, so that it suits light and dark. */
export function shade(value: number | null, { least, most, signed }: ReturnType<typeof rangeOf>): string {
  if (value === null) return "transparent";
  const share = signed ? Math.abs(value) / (most || 1) : (value - least) / (most - least || 1);
  const colour = signed && value < 0 ? "var(--falls)" : "var(--rises)";
  return `color-mix(in oklab, ${colour} ${Math.round(share * 100)}%, var(--ground))`;
}

/** A value with as many digits as the statements of analyses have. */
export function written(value: number | null, signed: boolean): string {
  if (value === null) return "unknown";
  const size = Math.abs(value);
  const text =
    value === 0
      ? "0"
      : size < 0.001
        ? value.toExponential(2)
        : size < 1
          ? value.toPrecision(3)
          : value.toFixed(size < 100 ? 2 : size < 1000 ? 1 : 0);
  return signed && value > 0 ? `+${text}` : text;
}

export function intervalOf(grid: HeadGrid, index: number, signed: boolean): string {
  const [low, high] = [grid.low[index] ?? null, grid.high[index] ?? null];
  return low === null || high === null ? "" : `${written(low, signed)} to ${written(high, signed)}`;
}

export function labelOf(grid: HeadGrid, index: number): string {
  return `layer ${Math.floor(index / grid.heads)}, head ${index % grid.heads}`;
}

/** The same before a verb, where a comma would mislead. */
export function phraseOf(grid: HeadGrid, index: number): string {
  return `head ${index % grid.heads} of layer ${Math.floor(index / grid.heads)}`;
}

/** Means over the heads of each layer. */
export function byLayer(grid: HeadGrid): (number | null)[] {
  return Array.from({ length: grid.layers }, (_, layer) => {
    const row = grid.value.slice(layer * grid.heads, (layer + 1) * grid.heads).filter((cell) => cell !== null);
    return row.length ? row.reduce((sum, cell) => sum + cell, 0) / row.length : null;
  });
}

/** By student, the means of each layer; of what the first student has too, the difference from it. */
export function curves(measure: HeadMeasure): { against: string | null; lines: Record<string, (number | null)[]> } {
  const [first, ...others] = Object.entries(measure.students);
  const lines: Record<string, (number | null)[]> = {};
  if (!first || measure.table !== "heads" || !others.length) {
    for (const [student, grid] of Object.entries(measure.students)) lines[student] = byLayer(grid);
    return { against: null, lines };
  }
  const base = byLayer(first[1]);
  for (const [student, grid] of others) {
    lines[student] = byLayer(grid).map((mean, layer) => {
      const from = base[layer] ?? null;
      return mean === null || from === null ? null : mean - from;
    });
  }
  return { against: first[0], lines };
}
