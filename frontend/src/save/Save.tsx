/** What can be taken along: the config, the answers, and a summary. */
import type { Answers, Payload, ShownArm } from "../payload";
import { answerRows, csv } from "./csv";
import { save } from "./file";

interface TaughtProps {
  name: string;
  answers: Answers;
  arms: ShownArm[];
}

function Taught({ name, answers, arms }: TaughtProps) {
  const file = `${name}-teacher-answers.csv`;
  return (
    <button type="button" class="save" onClick={() => save(file, csv(answerRows(answers, arms)), "text/csv")}>
      Save the teacher's answers (CSV)
    </button>
  );
}

export function Save({ name, answers, arms, teaching, config, summary }: Payload) {
  return (
    <p class="saves">
      {config ? (
        <button type="button" class="save" onClick={() => save(`${name}.toml`, config, "application/toml")}>
          Save the config (TOML)
        </button>
      ) : null}
      {answers ? (
        <button
          type="button"
          class="save"
          onClick={() => save(`${name}-answers.csv`, csv(answerRows(answers, arms)), "text/csv")}
        >
          Save all answers (CSV)
        </button>
      ) : null}
      {teaching?.answers ? <Taught name={name} answers={teaching.answers} arms={teaching.arms} /> : null}
      <button type="button" class="save" onClick={() => save(`${name}.md`, summary, "text/markdown")}>
        Save a summary (Markdown)
      </button>
    </p>
  );
}
