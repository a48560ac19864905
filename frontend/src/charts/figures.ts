/** Draws plotly figures when they come into view, so that a page with many of them is ready at once. */
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

/** Milliseconds after which nobody who reads the first screen is disturbed. */
const IDLE = 1500;
const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false };

export function drawFigures({ figures, arms }: Payload, packedPlotly: string): void {
  const drawn = new Set<HTMLElement>();
  const elements = [...document.querySelectorAll<HTMLElement>("[data-figure]")];
  const figureOf = (element: HTMLElement) => figures[Number(element.dataset.figure)];

  const draw = (element: HTMLElement): void => {
    const figure = figureOf(element);
    if (!figure || !window.Plotly) return;
    const { data, layout } = themed(figure, arms, pageColours());
    void window.Plotly.react(element, data, layout, CONFIG);
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

  // Printing cannot wait for it.
  if (elements.length) setTimeout(() => void load(), IDLE);
  const again = (): void => drawn.forEach(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  // On paper the colours are the light ones, and every figure is in view.
  window.addEventListener("beforeprint", () => elements.forEach(draw));
  window.addEventListener("afterprint", again);
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

/** The figure's numbers, made when somebody wants to see them. */
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
