/** A menu and a checkbox, each with its label. */

interface MenuProps<Value> {
  label: string;
  value: Value;
  /** The choices, each with its text. */
  options: readonly (readonly [Value, string])[];
  choose: (value: Value) => void;
  wide?: boolean;
}

export function Menu<Value extends string | number>({ label, value, options, choose, wide }: MenuProps<Value>) {
  return (
    <label class={wide ? "wide" : undefined}>
      {label}{" "}
      <select
        value={value}
        onChange={(event) => {
          const chosen = options[event.currentTarget.selectedIndex];
          if (chosen) choose(chosen[0]);
        }}
      >
        {options.map(([each, text]) => (
          <option key={each} value={each}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

interface CheckProps {
  label: string;
  checked: boolean;
  check: (checked: boolean) => void;
}

export function Check({ label, checked, check }: CheckProps) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} onChange={(event) => check(event.currentTarget.checked)} />
      {label}
    </label>
  );
}
