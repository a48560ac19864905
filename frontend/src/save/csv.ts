/** Tables as files for a spreadsheet. */
import type { Answers, ShownArm } from "../payload";

/** The beginnings of texts that a spreadsheet takes for formulas; signed numbers are not formulas. */
const FORMULA = /^(?:[=@\t\r]|[+-](?!\d+(?:\.\d*)?(?:e[+-]?\d+)?$))/i;

export function csv(rows: string[][]): string {
  return rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

function cell(text: string): string {
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** A row for every answer. */
export function answerRows({ problems, arms: answers }: Answers, arms: ShownArm[]): string[][] {
  const header = ["arm", "problem", "group", "question", "gold", "value", "right", "cut_off", "tokens", "log_p", "answer"];
  const rows = arms.flatMap((arm, place) =>
    problems.flatMap((problem, index) => {
      const answer = answers[place]?.[index];
      if (!answer) return [];
      const known = [answer.value, answer.right, answer.cut, answer.tokens, answer.log_p].map((each) => String(each ?? ""));
      return [[arm.name, problem.id, problem.group ?? "", problem.question, problem.gold, ...known, answer.text]];
    }),
  );
  return [header, ...rows];
}

/** The cells of a table on the page. */
export function tableRows(table: HTMLTableElement): string[][] {
  return [...table.rows].map((row) => [...row.cells].map((each) => (each.textContent ?? "").replace(/\s+/g, " ").trim()));
}
