/** The layer x head grid. */
import type { HeadGrid } from "../payload";
import { labelOf, type rangeOf, shade, written } from "./measures";

/** If there are more columns than this, only some are numbered, because the numbers would touch. */
const NUMBERED = 12;

interface Props {
  grid: HeadGrid;
  range: ReturnType<typeof rangeOf>;
  unit: string;
  shown: number;
  open: (index: number) => void;
}

export function Grid({ grid, range, unit, shown, open }: Props) {
  const move = (event: KeyboardEvent) => {
    const steps: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: grid.heads, ArrowUp: -grid.heads };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = shown + step;
    if (next < 0 || next >= grid.value.length) return;
    open(next);
    const cells = (event.currentTarget as HTMLElement).querySelectorAll<HTMLElement>("[role=gridcell]");
    cells[next]?.focus();
  };
  const rows = Array.from({ length: grid.layers }, (_, layer) => layer);
  const columns = Array.from({ length: grid.heads }, (_, head) => head);
  const every = Math.ceil(grid.heads / NUMBERED);
  return (
    <div class="card">
      <div
        class="grid"
        role="grid"
        aria-label="Heads by layer; use the arrow keys to move"
        style={{ "--heads": grid.heads }}
        onKeyDown={move}
      >
        <div role="row">
          <span role="columnheader" class="unseen">
            layer
          </span>
          {columns.map((head) => (
            <span key={head} role="columnheader" class="soft" style={{ gridColumn: head + 2 }}>
              {head % every === 0 ? head : <span class="unseen">{head}</span>}
            </span>
          ))}
        </div>
        {rows.map((layer) => (
          <div key={layer} role="row">
            <span role="rowheader" class="soft">
              {layer}
            </span>
            {columns.map((head) => {
              const index = layer * grid.heads + head;
              const value = grid.value[index] ?? null;
              const said = `${labelOf(grid, index)}: ${written(value, range.signed)} ${unit}`.trim();
              return (
                <div
                  key={head}
                  role="gridcell"
                  class={grid.exact?.[index] ? "exact" : ""}
                  aria-selected={index === shown}
                  tabIndex={index === shown ? 0 : -1}
                  aria-label={said}
                  title={said}
                  style={{ background: shade(value, range) }}
                  onClick={() => open(index)}
                />
              );
            })}
          </div>
        ))}
      </div>
      <p class="legend soft">
        <span>{written(range.least, range.signed)}</span>
        <span class={range.signed ? "bar signed" : "bar"} aria-hidden="true" />
        <span>
          {written(range.most, range.signed)} {unit}
        </span>
      </p>
      <p class="soft">Rows are layers, with the first at the top; columns are heads.</p>
    </div>
  );
}
