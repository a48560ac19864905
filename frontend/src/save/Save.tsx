/** What can be taken along: the config, the answers, and a summary. */
import type { Payload } from "../payload";
import { answerRows, csv } from "./csv";
import { save } from "./file";

export function Save({ name, answers, arms, config, summary }: Payload) {
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
      <button type="button" class="save" onClick={() => save(`${name}.md`, summary, "text/markdown")}>
        Save a summary (Markdown)
      </button>
    </p>
  );
}
