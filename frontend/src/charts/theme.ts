/** Plotly figures in the page's colours: each arm in its own; text and lines that are legible on the background. */
import type { PlotlyFigure, ShownArm, Trace } from "../payload";

export interface Colours {
  ink: string;
  line: string;
  /** By the number of an arm's colour. */
  arms: string[];
}

/** The most characters in one line of a vertical title. */
const ACROSS = 34;

export function pageColours(): Colours {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const arms = Array.from({ length: 8 }, (_, index) => colour(`--arm-${index}`));
  return { ink: colour("--ink"), line: colour("--line"), arms };
}

/** The figure as it is drawn; the original is not changed. */
export function themed(figure: PlotlyFigure, arms: ShownArm[], colours: Colours): PlotlyFigure {
  const byName = new Map(
    arms.flatMap(({ group, name, colour }) => [group, name].map((each) => [escaped(each), colours.arms[colour] ?? colours.ink])),
  );
  const data = figure.data.map((trace) => {
    const colour = byName.get(trace.name ?? "") ?? byName.get(trace.legendgroup ?? "");
    return colour ? coloured(trace, colour) : trace;
  });
  const axes: Record<string, unknown> = {};
  for (const [name, axis] of Object.entries({ xaxis: {}, yaxis: {}, ...figure.layout })) {
    if (/^[xy]axis\d*$/.test(name)) {
      const drawn: Record<string, unknown> = { gridcolor: colours.line, zerolinecolor: colours.line, automargin: true, ...(axis as object) };
      axes[name] = name.startsWith("y") ? wrapped(drawn) : drawn;
    }
  }
  const layout = {
    ...figure.layout,
    ...axes,
    margin: { l: 60, r: 20, t: 34, b: 45 },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom" },
    font: { family: "system-ui, sans-serif", color: colours.ink },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    template: "none",
  };
  return { data, layout };
}

/** A vertical axis whose title is broken into lines if it would be longer than the chart is high. */
function wrapped(axis: Record<string, unknown>): object {
  const { title } = axis;
  const text = typeof title === "string" ? title : (title as { text?: unknown } | undefined)?.text;
  if (typeof text !== "string") return axis;
  const lines = text.replace(new RegExp(`(.{1,${ACROSS}})(?: +|$)`, "g"), "$1<br>").replace(/<br>$/, "");
  return { ...axis, title: { ...(typeof title === "object" ? title : {}), text: lines } };
}

function coloured(trace: Trace, colour: string): Trace {
  const painted: Trace = { ...trace };
  if ("fillcolor" in trace) painted.fillcolor = colour;
  if ("marker" in trace || trace.type === "bar" || trace.type === "box") {
    painted.marker = { ...(trace.marker as object | undefined), color: colour };
  }
  if (trace.type !== "bar") painted.line = { ...(trace.line as object | undefined), color: colour };
  return painted;
}

/** A name escaped as by Python's `html.escape`, which is how plotly receives it. */
function escaped(name: string): string {
  const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;" };
  return name.replace(/[&<>"']/g, (char) => entities[char] ?? char);
}
