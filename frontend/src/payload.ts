/** What the page is given to show; `kdprobe.report.payload` writes it. Numbers arrive with their text. */

export interface ShownArm {
  name: string;
  /** What arms that differ only by their seed have in common. */
  group: string;
  colour: number;
  hollow: boolean;
}

export interface ShownProblem {
  id: string;
  question: string;
  gold: string;
  solution: string | null;
  group: string | null;
}

export interface ShownSample {
  text: string;
  value: string | null;
  right: boolean;
}

export interface ShownAnswer {
  text: string;
  thinking: string | null;
  /** Start and end of the value in the text. */
  span: [number, number] | null;
  value: string | null;
  right: boolean;
  cut: boolean | null;
  tokens: number | null;
  /** In nats. */
  log_p: number | null;
  /** The other samples of the problem, if it has several; this is the first. */
  others: ShownSample[];
}

export interface Answers {
  problems: ShownProblem[];
  /** By arm and problem. */
  arms: (ShownAnswer | null)[][];
  /** Whether an extractor read the answers, so that one may have no value. */
  read: boolean;
}

export interface ShownInterval {
  value: number;
  low: number | null;
  high: number | null;
  text: string;
  interval: string;
}

export interface ShownAccuracy {
  arm: string;
  accuracy: ShownInterval;
  solved: string;
}

export interface ShownDifference {
  arm: string;
  against: string;
  difference: ShownInterval;
  only: [number, number] | null;
  /** Whether means over several samples are compared: `only` says on how many problems each has the higher one. */
  sampled: boolean;
  p: string;
  significant: boolean;
  detectable: string;
}

export interface Baseline {
  name: string;
  /** The name, and over what the tests are made. */
  label: string;
  rows: ShownDifference[];
  note: string;
}

/** One value per head, layer by layer; `null` where it is unknown. */
export interface HeadGrid {
  layers: number;
  heads: number;
  value: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
  /** Whether each is exact, not an estimate; `null` if all were measured in the same way. */
  exact: boolean[] | null;
  moved: boolean[] | null;
}

/** Heads that were ablated together, compared with random sets of as many. */
export interface HeadSet {
  heads: number;
  /** In nats. */
  value: number;
  random: number;
  /** How many of the random sets cost at least as much. */
  as_large: number;
  p: string;
  /** Whether p is at most 5%. */
  stands_out: boolean;
}

export interface HeadMeasure {
  table: string;
  /** Changes have the metric that they are changes in. */
  metric: string;
  title: string;
  unit: string;
  against: string | null;
  students: Record<string, HeadGrid>;
  /** By student, the heads that were estimated to matter most. */
  top: Record<string, HeadSet>;
  /** By student, the heads whose attention diverged most. */
  diverged: Record<string, HeadSet>;
}

/** The attention of all heads on one problem; lists run over layer, head, query and student. */
export interface ShownAttention {
  problem: string;
  tokens: string[];
  students: string[];
  layers: number;
  heads: number;
  /** Four to a query; -1 for none. */
  keys: number[];
  /** In percent: a list of the first keys' weights, one of the second keys', and so on. */
  weights: number[][];
  /** In percent. */
  rests: number[];
  /** By `layer head`, all weights by student, query and key up to the query. */
  whole: Record<string, number[][]>;
}

/** What the teacher answered to the problems that students were trained on. */
export interface Teaching {
  /** The strategies, in the colours of their students. */
  arms: ShownArm[];
  pair: [string, string] | null;
  answers: Answers | null;
  note: string;
}

export interface Trace {
  [option: string]: unknown;
  name?: string;
  legendgroup?: string;
}

export interface PlotlyFigure {
  data: Trace[];
  layout: Record<string, unknown>;
}

export interface Payload {
  /** How saved files are named. */
  name: string;
  arms: ShownArm[];
  answers: Answers | null;
  accuracies: ShownAccuracy[];
  baselines: Baseline[];
  /** The two arms that the headline is about. */
  pair: [string, string] | null;
  figures: PlotlyFigure[];
  heads: HeadMeasure[];
  attention: ShownAttention | null;
  teaching: Teaching | null;
  /** As TOML; empty if there was none. */
  config: string;
  /** As Markdown. */
  summary: string;
}

/** Text that was compressed with gzip and written as base64. */
export async function unpack(packed: string): Promise<string> {
  const decoded = atob(packed);
  const bytes = new Uint8Array(decoded.length);
  // `Uint8Array.from` takes many times as long.
  for (let index = 0; index < bytes.length; index += 1) bytes[index] = decoded.charCodeAt(index);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}
