/** The table behind a plotly chart. */
import type { PlotlyFigure, Trace } from "../payload";

export interface ChartTable {
  columns: string[];
  rows: string[][];
}

/** One row per point, bar or cell, with the name of its series. */
export function tableOf(figure: PlotlyFigure): ChartTable {
  const rows: string[][] = [];
  for (const trace of figure.data) {
    // Bands only repeat the values of the curves around them, and have no name of their own.
    if (trace.fill === "toself") continue;
    const name = text(trace.name);
    if (Array.isArray(trace.z)) rows.push(...cells(trace, name));
    else rows.push(...points(trace, name));
  }
  const used = [0, 1, 2, 3].filter((column) => rows.some((row) => row[column] !== ""));
  const columns = ["series", titleOf(figure.layout.xaxis, "x"), titleOf(figure.layout.yaxis, "y"), "value"];
  return { columns: used.map((column) => columns[column] ?? ""), rows: rows.map((row) => used.map((c) => row[c] ?? "")) };
}

function points(trace: Trace, name: string): string[][] {
  const [x, y] = [list(trace.x), list(trace.y)];
  return Array.from({ length: Math.max(x.length, y.length) }, (_, index) => [name, text(x[index]), text(y[index]), ""]);
}

function cells(trace: Trace, name: string): string[][] {
  const [x, y] = [list(trace.x), list(trace.y)];
  return list(trace.z).flatMap((row, down) =>
    list(row).map((value, across) => [name, text(x[across] ?? across), text(y[down] ?? down), text(value)]),
  );
}

function list(values: unknown): unknown[] {
  return Array.isArray(values) ? values : [];
}

function titleOf(axis: unknown, otherwise: string): string {
  const title = (axis as { title?: unknown } | undefined)?.title;
  const words = typeof title === "object" && title ? (title as { text?: unknown }).text : title;
  return typeof words === "string" && words ? plain(words) : otherwise;
}

function text(value: unknown): string {
  if (typeof value === "number") return String(+value.toPrecision(6));
  return value === undefined || value === null ? "" : plain(String(value));
}

/** Plotly's texts are escaped, because it interprets some HTML in them. */
function plain(words: string): string {
  const entities: Record<string, string> = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'" };
  return words.replace(/&(?:amp|lt|gt|quot|#x27);/g, (entity) => entities[entity] ?? entity);
}
