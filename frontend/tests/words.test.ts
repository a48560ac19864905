import assert from "node:assert/strict";
import { test } from "node:test";
import { chance, enumerated } from "../src/heads/words";

const said = (heads: number, random: number, as_large: number) =>
  Object.values(chance({ heads, random, as_large, value: -1, p: "0.5", stands_out: false })).join("");

test("one random set is not several", () => {
  const top = "the 4 heads that rank highest on the earlier folds";
  const falls = `When ${top} are removed together, log p falls more than when`;
  assert.equal(said(4, 1, 0), `${falls} 1 random set of 4 heads is removed, the smallest that 1 random set of 4 heads can give`);
  assert.equal(said(4, 9, 0), `${falls} any of 9 random sets of 4 heads is removed, the smallest that 9 random sets of 4 heads can give`);
  const much = `log p at least as much as ${top} do together`;
  assert.equal(said(4, 1, 1), `1 random set of 4 heads, when removed, lowers ${much}`);
  assert.equal(said(4, 9, 1), `1 of 9 random sets of 4 heads, when removed, lowers ${much}`);
  assert.equal(said(4, 9, 2), `2 of 9 random sets of 4 heads, when removed, lower ${much}`);
  const alone = "log p at least as much as the head that ranks highest on the earlier folds does";
  assert.equal(said(1, 1, 1), `1 random head, when removed, lowers ${alone}`);
  assert.equal(said(1, 9, 2), `2 of 9 random heads, when removed, lower ${alone}`);
});

test("names are listed as in a sentence", () => {
  assert.deepEqual([["a"], ["a", "b"], ["a", "b", "c"]].map(enumerated), ["a", "a and b", "a, b and c"]);
});
