/** Where a head looks: the keys of one query with their weights. */
import type { ShownAttention } from "../payload";

const KEYS = 4;

export interface Looking {
  /** By key, in percent; only the strongest, unless the head's whole pattern is known. */
  weights: Map<number, number>;
  /** The weight of all other keys, in percent; 0 if all are known. */
  rest: number;
}

export function lookingAt(attention: ShownAttention, student: string, head: number, query: number): Looking | null {
  const at = attention.students.indexOf(student);
  const queries = attention.tokens.length;
  if (at < 0 || head >= attention.layers * attention.heads || query >= queries) return null;
  const name = `${Math.floor(head / attention.heads)} ${head % attention.heads}`;
  const whole = attention.whole[name]?.[at];
  if (whole) {
    const start = (query * (query + 1)) / 2;
    const row = whole.slice(start, start + query + 1);
    return { weights: new Map(row.map((weight, key) => [key, weight])), rest: 0 };
  }
  const row = (head * queries + query) * attention.students.length + at;
  const weights = new Map<number, number>();
  for (let rank = 0; rank < KEYS; rank += 1) {
    const key = attention.keys[row * KEYS + rank] ?? -1;
    if (key >= 0) weights.set(key, attention.weights[rank]?.[row] ?? 0);
  }
  return { weights, rest: attention.rests[row] ?? 0 };
}

/** Keys in descending order of weight. */
export function strongest({ weights }: Looking): [number, number][] {
  return [...weights].sort((one, other) => other[1] - one[1]).slice(0, KEYS);
}
