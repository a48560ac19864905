/** What to compare, and which problems to show. */
import { useMemo } from "preact/hooks";
import { Check, Menu } from "../controls";
import type { Answers, ShownArm } from "../payload";
import { answering, SORTS, SORTS_OF_ONE, type Choice, type Sort } from "./choose";

interface Props {
  answers: Answers;
  arms: ShownArm[];
  choice: Choice;
  change: (part: Partial<Choice>) => void;
}

export function Controls({ answers, arms, choice, change }: Props) {
  const groups = useMemo(
    () => [...new Set(answers.problems.flatMap(({ group }) => (group === null ? [] : [group])))],
    [answers],
  );
  const known = useMemo(() => {
    const all = answers.arms.flat();
    return { cut: all.some((answer) => answer?.cut != null), logP: all.some((answer) => answer?.log_p != null) };
  }, [answers]);
  const shown = useMemo(
    () => answering(answers).map((index): [number, string] => [index, arms[index]?.name ?? ""]),
    [answers, arms],
  );
  const alone = shown.length < 2;
  const sorts = (Object.entries(alone ? SORTS_OF_ONE : SORTS) as [Sort, string][]).filter(
    ([name]) => known.logP || !name.startsWith("log p"),
  );
  return (
    <div class="controls">
      {alone ? null : (
        <>
          <Menu label="A" value={choice.a} options={shown} choose={(a) => change({ a })} />
          <Menu label="B" value={choice.b} options={shown} choose={(b) => change({ b })} />
        </>
      )}
      <label class="wide">
        Search questions and answers
        <input
          type="search"
          value={choice.search}
          onInput={(event) => change({ search: event.currentTarget.value })}
        />
      </label>
      <Menu label="Sort" value={choice.sort} options={sorts} choose={(sort) => change({ sort })} />
      {groups.length > 1 ? (
        <Menu
          label="Group"
          value={choice.group ?? ""}
          options={[["", "All groups"], ...groups.map((group): [string, string] => [group, group])]}
          choose={(group) => change({ group: group || null })}
        />
      ) : null}
      <fieldset>
        <legend>{alone ? "Only problems where the answer" : "Only problems where A or B"}</legend>
        {known.cut ? <Check label="was cut off" checked={choice.cut} check={(cut) => change({ cut })} /> : null}
        {answers.read ? (
          <Check label="gave no value" checked={choice.valueless} check={(valueless) => change({ valueless })} />
        ) : null}
      </fieldset>
    </div>
  );
}
