/** What every problem shows: its gold value, and the answers of some arms. */
import type { Answers, ShownArm } from "../payload";
import { Answer } from "./Answer";

export function Gold({ value }: { value: string }) {
  return (
    <p>
      Gold value{" "}
      <b>
        <bdi>{value}</bdi>
      </b>
    </p>
  );
}

interface CardsProps {
  answers: Answers;
  arms: ShownArm[];
  index: number;
  /** Which arms; those that gave no answer are left out. */
  places: number[];
  /** Whether the teacher wrote the answers. */
  teacher: boolean;
}

export function Cards({ answers, arms, index, places, teacher }: CardsProps) {
  return (
    <div class="cards">
      {places.map((place) => {
        const [arm, answer] = [arms[place], answers.arms[place]?.[index]];
        return arm && answer ? <Answer key={arm.name} arm={arm} answer={answer} read={answers.read} teacher={teacher} /> : null;
      })}
    </div>
  );
}
