import assert from "node:assert/strict";
import { test } from "node:test";
import { answering, type Choice, Chooser } from "../src/answers/choose";
import type { Answers, ShownAnswer } from "../src/payload";

function answer(right: boolean, more: Partial<ShownAnswer> = {}): ShownAnswer {
  const plain = { text: "Seven", thinking: null, span: null, value: "7", cut: false, tokens: 1, log_p: null };
  return { ...plain, right, others: [], ...more };
}

const ANSWERS: Answers = {
  problems: ["a", "b", "c", "d", "e"].map((id, index) => ({
    id,
    question: `Question ${id}`,
    gold: "7",
    solution: null,
    group: index < 2 ? "first" : null,
  })),
  arms: [
    [answer(true, { log_p: -1 }), answer(true, { log_p: -3 }), answer(false, { log_p: -2 }), answer(false), null],
    [answer(true), answer(false, { cut: true }), answer(true, { value: null }), answer(false, { text: "EIGHT" }), answer(true)],
  ],
  read: true,
};
const CHOICE: Choice = {
  a: 0,
  b: 1,
  outcome: null,
  cut: false,
  valueless: false,
  group: null,
  search: "",
  sort: "asked",
};
const chosen = (choice: Partial<Choice>) => new Chooser(ANSWERS).choose({ ...CHOICE, ...choice });

test("every problem has one outcome, and one that an arm did not answer has none", () => {
  assert.deepEqual(new Chooser(ANSWERS).count(CHOICE), { both: 1, "only a": 1, "only b": 1, neither: 1 });
  assert.deepEqual(new Chooser(ANSWERS).count({ ...CHOICE, a: 1, b: 0 })["only a"], 1);
  assert.deepEqual(chosen({}), [0, 1, 2, 3, 4]);
  assert.deepEqual(chosen({ outcome: "only b" }), [2]);
});

test("filters meet at once, and the counts follow all but the outcome", () => {
  assert.deepEqual(chosen({ group: "first" }), [0, 1]);
  assert.deepEqual(chosen({ group: "first", cut: true }), [1]);
  assert.deepEqual(chosen({ valueless: true }), [2]);
  assert.deepEqual(chosen({ search: " eight " }), [3]);
  assert.deepEqual(chosen({ search: "question c" }), [2]);
  const counts = new Chooser(ANSWERS).count({ ...CHOICE, group: "first", outcome: "only a" });
  assert.deepEqual(counts, { both: 1, "only a": 1, "only b": 0, neither: 0 });
});

test("sorting keeps the order of equals and puts the unknown last", () => {
  assert.deepEqual(chosen({ sort: "disagreement" }), [1, 2, 0, 3, 4]);
  assert.deepEqual(chosen({ sort: "log p of a" }), [1, 2, 0, 3, 4]);
  assert.deepEqual(chosen({ sort: "log p difference" }), [0, 1, 2, 3, 4]);
});

test("arms without answers cannot be compared", () => {
  assert.deepEqual(answering({ ...ANSWERS, arms: [[null, null], ...ANSWERS.arms] }), [1, 2]);
});
