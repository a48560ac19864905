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

/** A row for every answer; of further samples, only the text and how it was judged are known. */
export function answerRows({ problems, arms: answers }: Answers, arms: ShownArm[]): string[][] {
  const header = ["arm", "problem", "group", "question", "gold", "value", "right", "cut_off", "tokens", "log_p", "answer"];
  const several = answers.some((arm) => arm.some((answer) => answer?.others.length));
  const rows = arms.flatMap((arm, place) =>
    problems.flatMap((problem, index) => {
      const answer = answers[place]?.[index];
      if (!answer) return [];
      const asked = [arm.name, problem.id, problem.group ?? "", problem.question, problem.gold];
      const known = [answer.value, answer.right, answer.cut, answer.tokens, answer.log_p].map((each) => String(each ?? ""));
      const others = answer.others.map(({ value, right, text }) => [value ?? "", String(right), "", "", "", text]);
      return [[...known, answer.text], ...others].map((cells, sample) => [
        ...asked,
        ...cells,
        ...(several ? [String(sample)] : []),
      ]);
    }),
  );
  return [[...header, ...(several ? ["sample"] : [])], ...rows];
}

/** The cells of a table on the page. */
export function tableRows(table: HTMLTableElement): string[][] {
  return [...table.rows].map((row) => [...row.cells].map((each) => (each.textContent ?? "").replace(/\s+/g, " ").trim()));
}
