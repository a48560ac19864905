/** Draws plotly figures after the rest of the page; those that are collapsed are drawn when they come into view. */
import { type Payload, type PlotlyFigure, unpack } from "../payload";
import { tableOf } from "./table";
import { pageColours, themed } from "./theme";

interface Plotly {
  react: (element: HTMLElement, data: unknown[], layout: unknown, config: unknown) => Promise<unknown>;
  downloadImage: (element: HTMLElement, options: { format: string; filename: string }) => Promise<unknown>;
}

declare global {
  interface Window {
    Plotly?: Plotly;
  }
}

/** The width of A4 within its margins, in pixels; letter paper is wider. */
const PRINTED = 700;
const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false };

export function drawFigures({ figures, arms }: Payload, packedPlotly: string): void {
  const drawn = new Set<HTMLElement>();
  const elements = [...document.querySelectorAll<HTMLElement>("[data-figure]")];
  const figureOf = (element: HTMLElement) => figures[Number(element.dataset.figure)];

  const draw = (element: HTMLElement, width?: number): void => {
    const figure = figureOf(element);
    if (!figure || !window.Plotly) return;
    const { data, layout } = themed(figure, arms, pageColours());
    void window.Plotly.react(element, data, { ...layout, width, autosize: width === undefined }, CONFIG);
    drawn.add(element);
  };

  let loading: Promise<void> | null = null;
  const load = (): Promise<void> => {
    loading ??= unpack(packedPlotly).then((source) => {
      const script = document.createElement("script");
      script.textContent = source;
      document.head.append(script);
    });
    return loading;
  };

  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        watcher.unobserve(target);
        void load().then(() => draw(target as HTMLElement));
      }
    },
    { rootMargin: "400px" },
  );
  for (const element of elements) {
    watcher.observe(element);
    const figure = figureOf(element);
    if (figure) element.after(foldedTable(figure), ...["png", "svg"].map((format) => imageButton(element, format)));
  }

  // Printing the page or taking a picture of all of it neither scrolls to them nor waits.
  if (elements.length) void idle().then(load).then(() => drawOpen(elements));
  const drawOpen = async (waiting: HTMLElement[]): Promise<void> => {
    for (const element of waiting) {
      if (drawn.has(element) || !element.checkVisibility()) continue;
      await idle();
      draw(element);
    }
  };
  const again = (): void => drawn.forEach((element) => draw(element));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  // On paper, the light colours are used, every figure is in view, and the width is not yet known here.
  window.addEventListener("beforeprint", () => {
    for (const element of elements) draw(element, element.closest(".figures") ? PRINTED / 2 - 15 : PRINTED);
  });
  window.addEventListener("afterprint", again);
}

/** When the browser has nothing else to do, one figure at a time. */
function idle(): Promise<void> {
  return new Promise((resolve) => {
    if ("requestIdleCallback" in window) requestIdleCallback(() => resolve(), { timeout: 1000 });
    else setTimeout(resolve, 50);
  });
}

function imageButton(element: HTMLElement, format: string): HTMLElement {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "save";
  button.textContent = `Save as ${format.toUpperCase()}`;
  button.addEventListener("click", () => {
    void window.Plotly?.downloadImage(element, { format, filename: `figure-${Number(element.dataset.figure) + 1}` });
  });
  return button;
}

/** The figure's numbers, computed only when somebody opens them. */
function foldedTable(figure: PlotlyFigure): HTMLElement {
  const folded = document.createElement("details");
  folded.className = "numbers";
  const summary = document.createElement("summary");
  summary.textContent = "Table";
  folded.append(summary);
  folded.addEventListener("toggle", () => {
    if (folded.open && folded.childElementCount === 1) folded.append(table(figure));
  });
  return folded;
}

function table(figure: PlotlyFigure): HTMLElement {
  const { columns, rows } = tableOf(figure);
  const element = document.createElement("table");
  const head = element.createTHead().insertRow();
  for (const column of columns) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = column;
    head.append(cell);
  }
  const body = element.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const cell of row) line.insertCell().textContent = cell;
  }
  const box = document.createElement("div");
  box.className = "scroll tall";
  box.tabIndex = 0;
  box.append(element);
  return box;
}
