/** Sentences about heads that depend on how many there are. */
import type { HeadSet } from "../payload";

/** Names in a sentence: `a`, `a and b` or `a, b and c`. */
export function enumerated(names: string[]): string {
  return [names.slice(0, -1).join(", "), ...names.slice(-1)].filter(Boolean).join(" and ");
}

/** How the top heads compare with random sets, and what limits p; empty if nothing does. */
export function chance({ heads, random, as_large }: HeadSet): { compared: string; least: string } {
  const one = heads === 1;
  const top = one ? "the head that ranks highest on the earlier folds" : `the ${heads} heads that rank highest on the earlier folds`;
  const several = random === 1 ? "" : "s";
  const sets = `${random} random ${one ? `head${several}` : `set${several} of ${heads} heads`}`;
  if (as_large === 0) {
    const removed = one ? "is removed" : "are removed together";
    return {
      compared: `When ${top} ${removed}, log p falls more than when ${random === 1 ? "" : "any of "}${sets} is removed`,
      least: `, the smallest that ${sets} can give`,
    };
  }
  const which = random === 1 ? sets : `${as_large} of ${sets}`;
  const lowers = as_large === 1 ? "lowers" : "lower";
  return {
    compared: `${which}, when removed, ${lowers} log p at least as much as ${top} ${one ? "does" : "do together"}`,
    least: "",
  };
}
