/** What a head attends to from a chosen token, in the first student and in the chosen one. */
import { useState } from "preact/hooks";
import { ArmName, armNamed } from "../arms";
import type { ShownArm, ShownAttention } from "../payload";
import { type Looking, lookingAt, strongest } from "./looking";

interface Props {
  attention: ShownAttention;
  arms: ShownArm[];
  student: string;
  head: number;
}

export function Attention({ attention, arms, student, head }: Props) {
  const [chosen, choose] = useState(attention.tokens.length - 1);
  const shown = [...new Set([attention.students[0] ?? student, student])];
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = Math.min(attention.tokens.length - 1, Math.max(0, chosen + step));
    choose(next);
    (event.currentTarget as HTMLElement).querySelectorAll("button")[next]?.focus();
  };
  return (
    <div class="attention">
      <h3>
        Attention of layer {Math.floor(head / attention.heads)}, head {head % attention.heads}
      </h3>
      <p class="soft">
        Problem <bdi>{attention.problem}</bdi>. Choose a token to see where it looks; a stronger colour means more attention.
      </p>
      <div class="two">
        {shown.map((name) => {
          const looking = lookingAt(attention, name, head, chosen);
          return (
            <div key={name} class="card">
              <p>
                <ArmName arm={armNamed(arms, name)} />
              </p>
              {looking ? (
                <>
                  <div class="tokens" role="group" aria-label={`Tokens, as ${name} reads them`} onKeyDown={move}>
                    {attention.tokens.map((token, index) => (
                      <button
                        key={index}
                        type="button"
                        tabIndex={index === chosen ? 0 : -1}
                        aria-pressed={index === chosen}
                        title={titleOf(looking, index)}
                        style={{ background: shadeOf(looking.weights.get(index)) }}
                        onClick={() => choose(index)}
                      >
                        {written(token)}
                      </button>
                    ))}
                  </div>
                  <Keys attention={attention} looking={looking} />
                </>
              ) : (
                <p class="soft">No attention recorded for this student.</p>
              )}
            </div>
          );
        })}
      </div>
    </div>
  );
}

function Keys({ attention, looking }: { attention: ShownAttention; looking: Looking }) {
  return (
    <p class="soft" role="status">
      {strongest(looking).map(([key, weight], index) => (
        <span key={key}>
          {index ? ", " : ""}
          <bdi>{written(attention.tokens[key] ?? "")}</bdi> ({key}) {weight}%
        </span>
      ))}
      {looking.rest ? `; all other tokens together ${looking.rest}%` : ""}
    </p>
  );
}

function titleOf({ weights, rest }: Looking, index: number): string {
  const weight = weights.get(index);
  if (weight !== undefined) return `${index}: ${weight}%`;
  return rest ? `${index}: not among the tokens with the most attention` : `${index}: comes after the chosen token`;
}

function shadeOf(weight: number | undefined): string {
  return `color-mix(in oklab, var(--rises) ${Math.round((weight ?? 0) / 1.5)}%, var(--ground))`;
}

/** Spaces and line breaks are shown, because models attend to them. */
function written(token: string): string {
  return token.replaceAll("\n", "⏎").replaceAll(" ", "·") || "∅";
}
