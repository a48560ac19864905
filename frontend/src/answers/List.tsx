/** The problems that were found, as a list of which only the part in view is drawn. */
import { useEffect, useRef, useState } from "preact/hooks";
import { Mark } from "../arms";
import type { Answers, ShownAnswer, ShownArm } from "../payload";
import type { Choice } from "./choose";
import { inView, ROW, rowAfter, scrolledTo } from "./window";

interface Props {
  answers: Answers;
  arms: ShownArm[];
  choice: Choice;
  /** Indexes of problems. */
  found: number[];
  shown: number | null;
  open: (index: number) => void;
}

export function List({ answers, arms, choice, found, shown, open }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [scrolled, setScrolled] = useState(0);
  const [height, setHeight] = useState(ROW * 12);
  const row = shown === null ? -1 : found.indexOf(shown);

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    setHeight(element.clientHeight);
    if (row >= 0) element.scrollTop = scrolledTo(row, element.scrollTop, element.clientHeight);
  }, [row, found]);

  if (!found.length) return <p class="empty">No problem meets all of these conditions.</p>;
  const { first, last } = inView(scrolled, height, found.length);
  const move = (event: KeyboardEvent) => {
    const next = rowAfter(event.key, row, found.length, Math.floor(height / ROW) - 1);
    const index = next === null ? undefined : found[next];
    if (index === undefined) return;
    event.preventDefault();
    open(index);
  };
  return (
    <div
      class="list"
      role="listbox"
      aria-label="Problems"
      tabIndex={0}
      aria-activedescendant={row >= first && row < last ? `problem-${row}` : undefined}
      ref={box}
      onScroll={(event) => setScrolled(event.currentTarget.scrollTop)}
      onKeyDown={move}
    >
      <div role="presentation" style={{ height: `${found.length * ROW}px` }}>
        {found.slice(first, last).map((index, place) => {
          const problem = answers.problems[index];
          const at = first + place;
          const [a, b] = [answers.arms[choice.a]?.[index] ?? null, answers.arms[choice.b]?.[index] ?? null];
          return (
            <div
              key={index}
              id={`problem-${at}`}
              class="row"
              role="option"
              aria-selected={at === row}
              aria-posinset={at + 1}
              aria-setsize={found.length}
              style={{ top: `${at * ROW}px`, height: `${ROW}px` }}
              onClick={() => open(index)}
            >
              <Outcome arm={arms[choice.a]} answer={a} />
              {choice.a === choice.b ? null : <Outcome arm={arms[choice.b]} answer={b} />}
              <bdi class="soft id">{problem?.id}</bdi>
              <bdi class="question">{problem?.question}</bdi>
            </div>
          );
        })}
      </div>
    </div>
  );
}

function Outcome({ arm, answer }: { arm: ShownArm | undefined; answer: ShownAnswer | null }) {
  if (!arm) return null;
  const [sign, word, kind] = !answer
    ? ["–", "no answer", "soft"]
    : answer.right
      ? ["✓", "right", "right"]
      : ["✗", "wrong", "wrong"];
  return (
    <span class={`outcome ${kind}`} title={`${arm.name}: ${word}`}>
      <Mark arm={arm} />
      <span aria-hidden="true">{sign}</span>
      <span class="unseen">
        {arm.name} {word}.
      </span>
    </span>
  );
}
