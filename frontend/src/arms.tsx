/** An arm's name next to its mark, whose colour it has everywhere. */
import type { ShownArm } from "./payload";

/** Longer names may break. */
const SHORT = 24;

export function colourOf(arm: ShownArm): string {
  return `var(--arm-${arm.colour})`;
}

/** The arm of this name, else one of this strategy; else the name in grey. */
export function armNamed(arms: ShownArm[], name: string): ShownArm {
  const found = arms.find((arm) => arm.name === name) ?? arms.find((arm) => arm.group === name);
  return { group: name, colour: 0, hollow: false, ...found, name };
}

export function Mark({ arm }: { arm: ShownArm }) {
  return <span class={arm.hollow ? "mark hollow" : "mark"} style={{ "--colour": colourOf(arm) }} aria-hidden="true" />;
}

export function ArmName({ arm }: { arm: ShownArm }) {
  return (
    <span class={arm.name.length <= SHORT ? "arm short" : "arm"}>
      <Mark arm={arm} />
      <bdi>{arm.name}</bdi>
    </span>
  );
}
