/** On paper: every problem that was found, in full if there are few, otherwise in one row each. */
import { ArmName } from "../arms";
import type { Answers, ShownArm } from "../payload";
import { Answer } from "./Answer";

/** More problems than this would fill a book. */
const WHOLE = 100;

interface Props {
  answers: Answers;
  arms: ShownArm[];
  found: number[];
}

export function Printed({ answers, arms, found }: Props) {
  if (found.length > WHOLE) return <Rows answers={answers} arms={arms} found={found} />;
  return (
    <>
      {found.map((index) => {
        const problem = answers.problems[index];
        return (
          <section key={index} class="problem">
            <p class="soft">
              <bdi>{problem?.id}</bdi>
            </p>
            <p class="asked" dir="auto">
              {problem?.question}
            </p>
            <p>
              Gold value <bdi>{problem?.gold}</bdi>
            </p>
            <div class="cards">
              {arms.map((arm, place) => {
                const answer = answers.arms[place]?.[index];
                return answer ? <Answer key={arm.name} arm={arm} answer={answer} read={answers.read} /> : null;
              })}
            </div>
          </section>
        );
      })}
    </>
  );
}

function Rows({ answers, arms, found }: Props) {
  return (
    <table>
      <caption>To print the answers themselves, first filter to {WHOLE} problems or fewer.</caption>
      <thead>
        <tr>
          <th scope="col">problem</th>
          <th scope="col">gold value</th>
          {arms.map((arm) => (
            <th key={arm.name} scope="col">
              <ArmName arm={arm} />
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {found.map((index) => (
          <tr key={index}>
            <th scope="row">
              <bdi>{answers.problems[index]?.id}</bdi>
            </th>
            <td>
              <bdi>{answers.problems[index]?.gold}</bdi>
            </td>
            {arms.map((arm, place) => {
              const answer = answers.arms[place]?.[index];
              return <td key={arm.name}>{answer ? `${answer.right ? "✓" : "✗"} ${answer.value ?? ""}` : "–"}</td>;
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
