/** What one arm answered, with the value that was read in it. */
import { ArmName } from "../arms";
import type { ShownAnswer, ShownArm } from "../payload";

interface Props {
  arm: ShownArm;
  answer: ShownAnswer;
  /** Whether an extractor read the answers. */
  read: boolean;
  /** Whether the teacher answered, under the strategy that has the arm's name. */
  teacher?: boolean;
}

export function Answer({ arm, answer, read, teacher = false }: Props) {
  const { text, span, value, others } = answer;
  const correct = [answer, ...others].filter(({ right }) => right).length;
  const facts = [
    answer.cut ? "cut off" : "",
    read ? (value === null ? "no value" : `read as ${value}`) : "",
    answer.log_p === null ? "" : `log p ${answer.log_p.toFixed(answer.log_p > -0.1 ? 4 : 2)}`,
    answer.tokens === null ? "" : `${answer.tokens} ${answer.tokens === 1 ? "token" : "tokens"}`,
  ].filter(Boolean);
  return (
    <article class="answer">
      <header>
        <span>
          {teacher ? <span class="soft">teacher, </span> : null}
          <ArmName arm={arm} />
        </span>{" "}
        <Verdict right={answer.right} />
        {others.length ? (
          <span class="soft">
            {" "}
            first of {others.length + 1} samples ({correct} of them right)
          </span>
        ) : null}
      </header>
      {facts.length ? <p class="soft">{facts.join(" · ")}</p> : null}
      {answer.thinking === null ? null : (
        <details>
          <summary>Thinking</summary>
          <pre dir="auto">{answer.thinking}</pre>
        </details>
      )}
      <pre dir="auto">
        {span ? (
          <>
            {text.slice(0, span[0])}
            <mark title="The value that the extractor read">{text.slice(span[0], span[1])}</mark>
            {text.slice(span[1])}
          </>
        ) : (
          text || <i>empty</i>
        )}
      </pre>
      {others.length ? (
        <details>
          <summary>The other {others.length === 1 ? "sample" : `${others.length} samples`}</summary>
          {others.map((other, place) => (
            <section key={place}>
              <p class="soft">
                <Verdict right={other.right} />
                {read ? ` · ${other.value === null ? "no value" : `read as ${other.value}`}` : ""}
              </p>
              <pre dir="auto">{other.text || <i>empty</i>}</pre>
            </section>
          ))}
        </details>
      ) : null}
    </article>
  );
}

function Verdict({ right }: { right: boolean }) {
  return <b class={right ? "right" : "wrong"}>{right ? "✓ right" : "✗ wrong"}</b>;
}
