/** Every answer to every problem: a pair of arms, filters, a list, and the chosen problem in full. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Answers, ShownArm, Teaching } from "../payload";
import { answering, Chooser, type Choice } from "./choose";
import { Controls } from "./Controls";
import { Counts } from "./Counts";
import { type Kind, linked, linkTo } from "./link";
import { List } from "./List";
import { Printed } from "./Printed";
import { Problem } from "./Problem";

interface Props {
  kind: Kind;
  answers: Answers;
  arms: ShownArm[];
  /** The arms to begin with. */
  pair: [string, string] | null;
  /** The teacher's answers to other problems, to show next to the students' answers. */
  teaching?: Teaching | null;
  printing: boolean;
}

export function Explorer({ kind, answers, arms, pair, teaching = null, printing }: Props) {
  const chooser = useMemo(() => new Chooser(answers), [answers]);
  const [choice, setChoice] = useState<Choice>(() => firstChoice(answers, arms, pair));
  const [problem, setProblem] = useState<number | null>(() => linkedProblem(kind, answers));
  const found = useMemo(() => chooser.choose(choice), [chooser, choice]);
  const counts = useMemo(() => chooser.count(choice), [chooser, choice]);
  const change = (part: Partial<Choice>) => setChoice((before) => ({ ...before, ...part }));
  const shown = problem !== null && (found.includes(problem) || linkedProblem(kind, answers) === problem) ? problem : found[0];

  const open = (index: number) => {
    setProblem(index);
    history.replaceState(null, "", linkTo(kind, answers.problems[index]?.id ?? ""));
  };

  const reader = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const follow = () => {
      const index = linkedProblem(kind, answers);
      if (index === null) return;
      setProblem(index);
      const shownThere = reader.current?.querySelector<HTMLElement>(".problem");
      shownThere?.scrollIntoView();
      shownThere?.focus({ preventScroll: true });
    };
    // A link to the problem that the address has already changes nothing in it.
    const again = ({ target }: MouseEvent) => {
      const link = target instanceof Element ? target.closest("a") : null;
      if (link?.hash && link.hash === location.hash) follow();
    };
    follow();
    window.addEventListener("hashchange", follow);
    document.addEventListener("click", again);
    return () => {
      window.removeEventListener("hashchange", follow);
      document.removeEventListener("click", again);
    };
  }, [kind, answers]);

  const [a, b] = [arms[choice.a], arms[choice.b]];
  if (!a || !b) return null;
  return (
    <div class="explorer">
      <div class="chooser">
        <Counts arms={a === b ? [a] : [a, b]} counts={counts} outcome={choice.outcome} choose={(outcome) => change({ outcome })} />
        <Controls answers={answers} arms={arms} choice={choice} change={change} />
      </div>
      <p class="soft" role="status">
        {found.length} of {answers.problems.length} {answers.problems.length === 1 ? "problem" : "problems"}
      </p>
      {printing ? (
        <Printed answers={answers} arms={arms} found={found} />
      ) : (
        <div class="reader" ref={reader}>
          <List answers={answers} arms={arms} choice={choice} found={found} shown={shown ?? null} open={open} />
          {shown === undefined ? null : (
            <Problem kind={kind} answers={answers} arms={arms} choice={choice} index={shown} teaching={teaching} />
          )}
        </div>
      )}
    </div>
  );
}

function firstChoice(answers: Answers, arms: ShownArm[], pair: [string, string] | null): Choice {
  const known = answering(answers);
  const index = (name: string | undefined) => known.find((place) => arms[place]?.name === name);
  const a = index(pair?.[0]) ?? known.at(-1) ?? 0;
  const b = index(pair?.[1]) ?? known.find((place) => place !== a) ?? a;
  const unfiltered = { outcome: null, cut: false, valueless: false, group: null, search: "" };
  return { a, b, ...unfiltered, sort: a === b ? "asked" : "disagreement" };
}

function linkedProblem(kind: Kind, answers: Answers): number | null {
  const id = linked(kind, location.hash);
  const index = answers.problems.findIndex((problem) => problem.id === id);
  return index < 0 ? null : index;
}
