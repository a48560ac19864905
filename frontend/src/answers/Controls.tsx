/** What to compare, and which problems to show. */
import { useMemo } from "preact/hooks";
import type { Answers, ShownArm } from "../payload";
import { SORTS, type Choice, type Sort } from "./choose";

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
  const sorts = Object.entries(SORTS).filter(([name]) => known.logP || !name.startsWith("log p"));
  const arm = (label: string, at: "a" | "b") => (
    <label>
      {label}
      <select value={choice[at]} onChange={(event) => change({ [at]: Number(event.currentTarget.value) })}>
        {arms.map((each, index) =>
          answers.arms[index]?.some(Boolean) ? (
            <option key={each.name} value={index}>
              {each.name}
            </option>
          ) : null,
        )}
      </select>
    </label>
  );
  return (
    <div class="controls">
      {arm("A", "a")}
      {arm("B", "b")}
      <label class="wide">
        Search questions and answers
        <input
          type="search"
          value={choice.search}
          onInput={(event) => change({ search: event.currentTarget.value })}
        />
      </label>
      <label>
        Sort
        <select value={choice.sort} onChange={(event) => change({ sort: event.currentTarget.value as Sort })}>
          {sorts.map(([name, title]) => (
            <option key={name} value={name}>
              {title}
            </option>
          ))}
        </select>
      </label>
      {groups.length > 1 ? (
        <label>
          Group
          <select
            value={choice.group ?? ""}
            onChange={(event) => change({ group: event.currentTarget.value || null })}
          >
            <option value="">All groups</option>
            {groups.map((group) => (
              <option key={group} value={group}>
                {group}
              </option>
            ))}
          </select>
        </label>
      ) : null}
      <fieldset>
        <legend>Only problems where A or B</legend>
        {known.cut ? (
          <label class="check">
            <input
              type="checkbox"
              checked={choice.cut}
              onChange={(event) => change({ cut: event.currentTarget.checked })}
            />
            was cut off
          </label>
        ) : null}
        {answers.read ? (
          <label class="check">
            <input
              type="checkbox"
              checked={choice.valueless}
              onChange={(event) => change({ valueless: event.currentTarget.checked })}
            />
            gave no value
          </label>
        ) : null}
      </fieldset>
    </div>
  );
}
