import assert from "node:assert/strict";
import { test } from "node:test";
import { linked, linkTo } from "../src/answers/link";
import { inView, ROW, rowAfter, scrolledTo } from "../src/answers/window";
import { placeOf, scaleOf } from "../src/beaten/scale";
import { tableOf } from "../src/charts/table";
import { themed } from "../src/charts/theme";
import { lookingAt, strongest } from "../src/heads/looking";
import { byLayer, causesFirst, curves, isShown, leading, ordered, rangeOf, shade, written } from "../src/heads/measures";
import { type HeadGrid, type ShownInterval, unpack } from "../src/payload";
import { csv } from "../src/save/csv";

const grid = (value: (number | null)[]): HeadGrid => ({
  layers: 2,
  heads: 2,
  value,
  low: [],
  high: [],
  exact: null,
  moved: null,
});
const estimate = (value: number, low: number | null, high: number | null): ShownInterval => ({
  value,
  low,
  high,
  text: "",
  interval: "",
});

test("a link leads back to its problem, whatever its id", () => {
  for (const id of ["test-1", "a/b#c d", "שלום", "100%"]) assert.equal(linked("problem", linkTo("problem", id)), id);
  assert.equal(linked("problem", "#answers"), null);
  assert.equal(linked("problem", "#problem=%"), null);
});

test("only rows in view are drawn", () => {
  assert.deepEqual(inView(0, 10 * ROW, 1000), { first: 0, last: 16 });
  assert.deepEqual(inView(500 * ROW, 10 * ROW, 1000), { first: 494, last: 516 });
  assert.deepEqual(inView(500 * ROW, 10 * ROW, 3), { first: 3, last: 3 });
  assert.equal(scrolledTo(20, 0, 10 * ROW), 11 * ROW);
  assert.equal(scrolledTo(2, 5 * ROW, 10 * ROW), 2 * ROW);
  assert.equal(scrolledTo(7, 5 * ROW, 10 * ROW), 5 * ROW);
});

test("keys move within the list", () => {
  assert.equal(rowAfter("ArrowDown", 4, 5, 10), 4);
  assert.equal(rowAfter("PageUp", 4, 5, 10), 0);
  assert.equal(rowAfter("End", 0, 5, 10), 4);
  assert.equal(rowAfter("a", 0, 5, 10), null);
  assert.equal(rowAfter("Home", -1, 0, 10), null);
});

test("a scale holds every interval and zero, within what is possible", () => {
  const scale = scaleOf([estimate(0.125, 0.05, 0.2), estimate(-0.02, null, null)], [-1, 1]);
  assert.deepEqual(scale, { low: -0.05, high: 0.2, ticks: [-0.05, 0, 0.05, 0.1, 0.15, 0.2] });
  assert.equal(placeOf(0.2, scale), 100);
  // Steps of 10 points would be six, and their labels would touch.
  assert.deepEqual(scaleOf([estimate(0.3, -0.06, 0.425)], [-1, 1]).ticks, [-0.2, 0, 0.2, 0.4, 0.6]);
  assert.equal(scaleOf([estimate(0.99, 0.9, 1)], [0, 1]).high, 1);
  const flat = scaleOf([estimate(0, 0, 0)], [0, 1]);
  assert.ok(flat.high > flat.low);
});

test("the table behind a chart has every point, and no band", () => {
  const figure = {
    data: [
      { type: "scatter", name: "a &amp; b", x: [0, 1], y: [0.123456789, null] },
      { type: "scatter", fill: "toself", x: [0, 1, 1, 0], y: [1, 1, 0, 0] },
      { type: "heatmap", z: [[1, 2]] },
    ],
    layout: { xaxis: { title: { text: "layer" } } },
  };
  assert.deepEqual(tableOf(figure), {
    columns: ["series", "layer", "y", "value"],
    rows: [
      ["a & b", "0", "0.123457", ""],
      ["a & b", "1", "", ""],
      ["", "0", "0", "1"],
      ["", "1", "0", "2"],
    ],
  });
});

test("an arm's traces get its colour, and others keep theirs", () => {
  const arms = [
    { name: "<a>", group: "<a>", colour: 1, hollow: false },
    { name: "c@0", group: "c", colour: 2, hollow: false },
  ];
  const figure = {
    data: [
      { type: "scatter", name: "&lt;a&gt;", line: { dash: "dot" } },
      { type: "scatter", legendgroup: "&lt;a&gt;", fillcolor: "red" },
      { type: "bar", name: "b" },
      { type: "scatter", name: "c" },
    ],
    layout: {},
  };
  const { data } = themed(figure, arms, { ink: "black", line: "grey", arms: ["x", "blue", "green"] });
  assert.deepEqual(data[0]?.line, { dash: "dot", color: "blue" });
  assert.equal(data[1]?.fillcolor, "blue");
  assert.deepEqual(data[2], figure.data[2]);
  assert.deepEqual(data[3]?.line, { color: "green" });
  assert.deepEqual(figure.data[0]?.line, { dash: "dot" });
});

test("heads are ordered by size, and the unknown are left out", () => {
  assert.deepEqual(ordered(grid([-3, 1, null, 2]), "size"), [0, 3, 1]);
  assert.deepEqual(ordered(grid([-3, 1, null, 2]), "low"), [0, 1, 3]);
  assert.deepEqual(ordered(grid([-3, 1, null, 2]), "layer"), [0, 1, 3]);
});

test("heads that were run exactly come before all estimates, and the largest of them leads", () => {
  const mixed = { ...grid([-3, 1, 7, 2]), exact: [true, true, false, false] };
  assert.deepEqual(ordered(mixed, "size"), [0, 1, 2, 3]);
  assert.deepEqual(ordered(mixed, "high"), [1, 0, 2, 3]);
  assert.deepEqual(ordered(mixed, "layer"), [0, 1, 2, 3]);
  assert.equal(leading({ ...mixed, exact: [false, true, false, false] }), 1);
  assert.equal(leading(grid([-3, 1, 7, 2])), 2);
});

test("an effect is shown where its interval lies on one side of zero", () => {
  const known = { ...grid([1, 1, -1, 1]), low: [0.5, -1, -2, null], high: [2, 2, -0.5, null] };
  assert.deepEqual([0, 1, 2, 3].map((index) => isShown(known, index)), [true, false, true, false]);
});

test("colours lie around zero where a measure has both signs", () => {
  const measure = { table: "heads", metric: "m", title: "t", unit: "", against: null, top: {}, diverged: {} };
  const signed = rangeOf({ ...measure, students: { a: grid([-4, 1, 2, null]) } });
  assert.deepEqual(signed, { least: -4, most: 4, signed: true });
  assert.match(shade(-4, signed), /falls\) 100%/);
  assert.match(shade(2, signed), /rises\) 50%/);
  const plain = rangeOf({ ...measure, students: { a: grid([1, 2, 3, 5]) } });
  assert.match(shade(3, plain), /rises\) 50%/);
});

test("what heads cause comes first, and all else in its order", () => {
  const named = ["heads", "patching", "geometry", "ablation"].map((table) => ({
    table,
    metric: "m",
    title: table,
    unit: "",
    against: null,
    students: {},
    top: {},
    diverged: {},
  }));
  const order = causesFirst(named).map(({ table }) => table);
  assert.deepEqual(order, ["ablation", "patching", "heads", "geometry"]);
});

test("numbers are written shortly, with a sign where there are two", () => {
  assert.equal(written(0.123456, false), "0.123");
  assert.equal(written(1234.4, true), "+1234");
  assert.equal(written(-5.8, true), "-5.80");
  assert.equal(written(-0.14, true), "-0.140");
  assert.equal(written(123.44, false), "123.4");
  assert.equal(written(0.00001234, false), "1.23e-5");
  assert.equal(written(0, true), "0");
  assert.equal(written(null, true), "unknown");
});

test("curves are means by layer, and differences from the first student of what both have", () => {
  assert.deepEqual(byLayer(grid([1, 3, null, null])), [2, null]);
  const measure = { table: "heads", metric: "m", title: "t", unit: "", against: null, top: {}, diverged: {} };
  const students = { base: grid([1, 1, 2, 2]), other: grid([2, 4, 2, 3]) };
  assert.deepEqual(curves({ ...measure, students }), { against: "base", lines: { other: [2, 0.5] } });
  assert.deepEqual(curves({ ...measure, table: "ablation", students }).lines, { base: [1, 2], other: [3, 2.5] });
});

test("cells that a spreadsheet would run are texts, and quotes stay inside", () => {
  assert.equal(csv([["=1+1", "-2.5", "-x", 'a "b", c', "two\nlines"]]), `'=1+1,-2.5,'-x,"a ""b"", c","two\nlines"\r\n`);
});

test("what was packed is unpacked", async () => {
  assert.equal(await unpack("H4sIAAAAAAACA8tIzcnJBwCGphA2BQAAAA=="), "hello");
});

test("a query's keys are found among heads, queries and students, with what is left to others", () => {
  // One layer of two heads, two tokens, two students.
  const none = [-1, -1, -1];
  const attention = {
    problem: "p",
    tokens: ["a", "b"],
    students: ["base", "other"],
    layers: 1,
    heads: 2,
    keys: [0, ...none, 0, ...none, 1, 0, -1, -1, 0, 1, -1, -1, ...Array<number>(16).fill(-1)],
    weights: [[100, 100, 70, 60, 0, 0, 0, 0], [0, 0, 25, 40, 0, 0, 0, 0], Array<number>(8).fill(0), Array<number>(8).fill(0)],
    rests: [0, 0, 5, 0, 0, 0, 0, 0],
    whole: { "0 1": [[100, 30, 70], [100, 10, 90]] },
  };
  const base = lookingAt(attention, "base", 0, 1);
  assert.deepEqual(base, { weights: new Map([[1, 70], [0, 25]]), rest: 5 });
  assert.deepEqual(lookingAt(attention, "other", 0, 0)?.weights, new Map([[0, 100]]));
  const whole = lookingAt(attention, "other", 1, 1);
  assert.ok(whole);
  assert.deepEqual(strongest(whole), [[1, 90], [0, 10]]);
  assert.equal(whole.rest, 0);
  assert.equal(lookingAt(attention, "nobody", 0, 0), null);
});
