/** Which problems are shown, and in which order. */
import type { Answers, ShownAnswer } from "../payload";

export const OUTCOMES = ["both", "only a", "only b", "neither"] as const;
export type Outcome = (typeof OUTCOMES)[number];

export const SORTS = {
  disagreement: "Disagreements first",
  asked: "Original order",
  "log p of a": "log p of A, lowest first",
  "log p of b": "log p of B, lowest first",
  "log p difference": "log p of A minus B, lowest first",
} as const;
/** If only one arm has answers. */
export const SORTS_OF_ONE = { asked: SORTS.asked, "log p of a": "log p, lowest first" } as const;
export type Sort = keyof typeof SORTS;

export interface Choice {
  /** Indexes of the two arms. */
  a: number;
  b: number;
  outcome: Outcome | null;
  /** Only problems on which A or B was cut off. */
  cut: boolean;
  /** Only problems on which A's or B's answer has no value. */
  valueless: boolean;
  group: string | null;
  search: string;
  sort: Sort;
}

/** The indexes of the arms with answers. */
export function answering(answers: Answers): number[] {
  return answers.arms.flatMap((held, index) => (held.some(Boolean) ? [index] : []));
}

export type Counts = Record<Outcome, number>;

export function outcomeOf(a: ShownAnswer | null, b: ShownAnswer | null): Outcome | null {
  if (!a || !b) return null;
  if (a.right) return b.right ? "both" : "only a";
  return b.right ? "only b" : "neither";
}

export class Chooser {
  readonly #answers: Answers;
  #texts: string[] | null = null;

  constructor(answers: Answers) {
    this.#answers = answers;
  }

  /** How many problems have each outcome, among those that meet every other condition. */
  count(choice: Choice): Counts {
    const counts: Counts = { both: 0, "only a": 0, "only b": 0, neither: 0 };
    for (const index of this.#meeting(choice)) {
      const outcome = this.#outcome(choice, index);
      if (outcome) counts[outcome] += 1;
    }
    return counts;
  }

  /** Indexes of the problems that meet every condition, in order. */
  choose(choice: Choice): number[] {
    const found = this.#meeting(choice).filter(
      (index) => choice.outcome === null || this.#outcome(choice, index) === choice.outcome,
    );
    const key = this.#key(choice);
    if (!key) return found;
    // Sorting is stable, so equal problems keep their original order; unknown values come last.
    return found
      .map((index) => ({ index, key: key(index) }))
      .sort((one, other) => (one.key ?? Infinity) - (other.key ?? Infinity) || 0)
      .map(({ index }) => index);
  }

  #meeting(choice: Choice): number[] {
    const search = choice.search.trim().toLowerCase();
    const found: number[] = [];
    this.#answers.problems.forEach((problem, index) => {
      if (choice.group !== null && problem.group !== choice.group) return;
      const [a, b] = this.#pair(choice, index);
      if (choice.cut && !a?.cut && !b?.cut) return;
      if (choice.valueless && !isValueless(a) && !isValueless(b)) return;
      if (search && !this.#text(index).includes(search)) return;
      found.push(index);
    });
    return found;
  }

  #pair(choice: Choice, index: number): [ShownAnswer | null, ShownAnswer | null] {
    const { arms } = this.#answers;
    return [arms[choice.a]?.[index] ?? null, arms[choice.b]?.[index] ?? null];
  }

  #outcome(choice: Choice, index: number): Outcome | null {
    return outcomeOf(...this.#pair(choice, index));
  }

  #key(choice: Choice): ((index: number) => number | null) | null {
    const difference = (index: number): number | null => {
      const [a, b] = this.#pair(choice, index).map((answer) => answer?.log_p ?? null);
      return a == null || b == null ? null : a - b;
    };
    switch (choice.sort) {
      case "asked":
        return null;
      case "disagreement":
        return (index) => {
          const outcome = this.#outcome(choice, index);
          if (!outcome?.startsWith("only")) return Infinity;
          const favoured = difference(index) ?? 0;
          return outcome === "only a" ? -favoured : favoured;
        };
      case "log p of a":
        return (index) => this.#pair(choice, index)[0]?.log_p ?? null;
      case "log p of b":
        return (index) => this.#pair(choice, index)[1]?.log_p ?? null;
      case "log p difference":
        return difference;
    }
  }

  /** All text of a problem that can be searched, in lower case. */
  #text(index: number): string {
    this.#texts ??= this.#answers.problems.map((problem, place) =>
      [problem.id, problem.question, problem.gold, ...this.#answers.arms.map((answers) => answers[place]?.text ?? "")]
        .join("\n")
        .toLowerCase(),
    );
    return this.#texts[index] ?? "";
  }
}

function isValueless(answer: ShownAnswer | null): boolean {
  return answer !== null && answer.value === null;
}
