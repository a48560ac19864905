/** What can be taken along: the config, the answers, and a summary. */
import type { Payload } from "../payload";
import { answerRows, csv } from "./csv";
import { save } from "./file";

interface ButtonProps {
  what: string;
  file: string;
  type: string;
  /** Makes the content, once it is wanted. */
  content: () => string;
}

function Button({ what, file, type, content }: ButtonProps) {
  return (
    <button type="button" class="save" onClick={() => save(file, content(), type)}>
      Save {what}
    </button>
  );
}

export function Save({ name, answers, arms, teaching, config, summary }: Payload) {
  const taught = teaching?.answers;
  return (
    <p class="saves">
      {config ? (
        <Button what="the config (TOML)" file={`${name}.toml`} type="application/toml" content={() => config} />
      ) : null}
      {answers ? (
        <Button
          what="all answers (CSV)"
          file={`${name}-answers.csv`}
          type="text/csv"
          content={() => csv(answerRows(answers, arms))}
        />
      ) : null}
      {taught ? (
        <Button
          what="the teacher's answers (CSV)"
          file={`${name}-teacher-answers.csv`}
          type="text/csv"
          content={() => csv(answerRows(taught, teaching.arms))}
        />
      ) : null}
      <Button what="a summary (Markdown)" file={`${name}.md`} type="text/markdown" content={() => summary} />
    </p>
  );
}
