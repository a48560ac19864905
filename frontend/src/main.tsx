/** Brings the page to life: unpacks its data and fills the places that wait for it. */
import { type ComponentChild, render } from "preact";
import { Explorer } from "./answers/Explorer";
import { Beaten } from "./beaten/Beaten";
import { drawFigures } from "./charts/figures";
import { Heads } from "./heads/Heads";
import { followParts } from "./parts";
import { type Payload, unpack } from "./payload";
import { csv, tableRows } from "./save/csv";
import { offerTables } from "./save/file";
import { Save } from "./save/Save";

type Part = (payload: Payload, printing: boolean) => ComponentChild;

const PARTS: Record<string, Part> = {
  beaten: ({ arms, accuracies, baselines }) => <Beaten arms={arms} accuracies={accuracies} baselines={baselines} />,
  answers: ({ answers, arms, pair, teaching }, printing) =>
    answers && (
      <Explorer kind="problem" answers={answers} arms={arms} pair={pair} teaching={teaching} printing={printing} />
    ),
  taught: ({ teaching }, printing) =>
    teaching?.answers && (
      <Explorer kind="taught" answers={teaching.answers} arms={teaching.arms} pair={teaching.pair} printing={printing} />
    ),
  heads: ({ heads, arms, attention }) => <Heads measures={heads} arms={arms} attention={attention} />,
  save: (payload) => <Save {...payload} />,
};

function held(id: string): string {
  return document.getElementById(id)?.textContent?.trim() ?? "";
}

function draw(payload: Payload, printing: boolean): void {
  for (const element of document.querySelectorAll<HTMLElement>("[data-part]")) {
    const part = PARTS[element.dataset.part ?? ""];
    if (part) render(part(payload, printing), element);
  }
}

/** What is folded away is open on paper. */
function unfold(): void {
  const folded = [...document.querySelectorAll<HTMLDetailsElement>("details:not([open], .numbers)")];
  for (const details of folded) details.open = true;
  window.addEventListener("afterprint", () => folded.forEach((details) => (details.open = false)), { once: true });
}

async function start(): Promise<void> {
  const payload = JSON.parse(await unpack(held("data"))) as Payload;
  // Before the figures' own, so that they are drawn where they can be seen.
  window.addEventListener("beforeprint", () => {
    draw(payload, true);
    unfold();
  });
  window.addEventListener("afterprint", () => draw(payload, false));
  draw(payload, false);
  drawFigures(payload, held("plotly"));
  followParts();
  offerTables(payload.name, (table) => csv(tableRows(table)));
  document.documentElement.dataset.ready = "true";
}

start().catch((error: unknown) => {
  for (const element of document.querySelectorAll("[data-part]")) {
    element.textContent = "This part of the page needs a browser from 2023 or later.";
  }
  throw error;
});
