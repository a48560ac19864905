/** The heads in order of a measure. */
import { useState } from "preact/hooks";
import { Menu } from "../controls";
import type { HeadGrid } from "../payload";
import { intervalOf, labelOf, ORDERS, type Order, ordered, written } from "./measures";

const FIRST = 12;

interface Props {
  grid: HeadGrid;
  signed: boolean;
  shown: number;
  open: (index: number) => void;
}

export function Ranking({ grid, signed, shown, open }: Props) {
  const [order, setOrder] = useState<Order>("size");
  const [whole, setWhole] = useState(false);
  const all = ordered(grid, order);
  const known = grid.low.some((low) => low !== null);
  const orders = (Object.entries(ORDERS) as [Order, string][]).map(([name, label]): [Order, string] =>
    // Estimates follow, because they can be far off.
    grid.exact?.some((one) => !one) && name !== "layer" ? [name, `Exact, then estimates: ${label.toLowerCase()}`] : [name, label],
  );
  const listed = whole ? all : all.slice(0, FIRST);
  return (
    <div class="card ranking">
      <p class="choice">
        <Menu label="Order of heads" value={order} options={orders} choose={setOrder} />
      </p>
      <table>
        <thead>
          <tr>
            <th scope="col">head</th>
            <th scope="col">value</th>
            {known ? <th scope="col">95% interval</th> : null}
            {grid.exact ? <th scope="col">method</th> : null}
          </tr>
        </thead>
        <tbody>
          {listed.map((index) => (
            <tr key={index} class={grid.exact && !grid.exact[index] ? "estimated" : ""}>
              <th scope="row">
                <button type="button" class="link" aria-pressed={index === shown} onClick={() => open(index)}>
                  {labelOf(grid, index)}
                </button>
              </th>
              <td>
                {grid.exact && !grid.exact[index] ? "≈ " : ""}
                {written(grid.value[index] ?? null, signed)}
              </td>
              {known ? <td>{intervalOf(grid, index, signed) || "unknown"}</td> : null}
              {grid.exact ? <td>{grid.exact[index] ? "exact" : "estimate"}</td> : null}
            </tr>
          ))}
        </tbody>
      </table>
      {all.length > FIRST ? (
        <button type="button" onClick={() => setWhole(!whole)}>
          {whole ? `Show ${FIRST}` : `Show all ${all.length}`}
        </button>
      ) : null}
    </div>
  );
}
