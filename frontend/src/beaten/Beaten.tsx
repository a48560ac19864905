/** Who beats whom: the accuracy of every arm, and its difference from a baseline. */
import { useState } from "preact/hooks";
import { ArmName, armNamed } from "../arms";
import { Menu } from "../controls";
import type { Baseline, Payload, ShownAccuracy, ShownArm } from "../payload";
import { Axis, Estimate } from "./Estimate";
import { scaleOf } from "./scale";

type Props = Pick<Payload, "arms" | "accuracies" | "baselines">;

export function Beaten({ arms, accuracies, baselines }: Props) {
  const [chosen, choose] = useState(0);
  const baseline = baselines[chosen];
  return (
    <div class="beaten">
      <Accuracies arms={arms} accuracies={accuracies} />
      {baseline ? (
        <div class="card">
          <p class="choice">
            <Menu
              label="Difference from"
              value={chosen}
              options={baselines.map(({ label }, index) => [index, label])}
              choose={choose}
            />
          </p>
          <Differences arms={arms} baseline={baseline} />
        </div>
      ) : null}
    </div>
  );
}

function Accuracies({ arms, accuracies }: { arms: ShownArm[]; accuracies: ShownAccuracy[] }) {
  const scale = scaleOf(
    accuracies.map(({ accuracy }) => accuracy),
    [0, 1],
  );
  return (
    <div class="card">
      <table class="forest">
        <caption>Accuracy, with the 95% interval</caption>
        <thead>
          <tr>
            <th scope="col">arm</th>
            <th scope="col" class="plotted">
              <span class="unseen">plot</span>
              <Axis scale={scale} sign={false} />
            </th>
            <th scope="col">accuracy</th>
          </tr>
        </thead>
        <tbody>
          {accuracies.map(({ arm, accuracy, solved }) => {
            const shown = armNamed(arms, arm);
            return (
              <tr key={arm}>
                <th scope="row">
                  <ArmName arm={shown} />
                </th>
                <td class="plotted">
                  <Estimate estimate={accuracy} scale={scale} arm={shown} />
                </td>
                <td>
                  <b>{accuracy.text}</b> <span class="soft whole">({accuracy.interval})</span>
                  <br />
                  <span class="soft">{solved}</span>
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Differences({ arms, baseline }: { arms: ShownArm[]; baseline: Baseline }) {
  const scale = scaleOf(
    baseline.rows.map(({ difference }) => difference),
    [-1, 1],
  );
  return (
    <table class="forest">
      <caption>Paired difference on the same problems, in points, with the 95% interval. {baseline.note}</caption>
      <thead>
        <tr>
          <th scope="col">arm</th>
          <th scope="col" class="plotted">
            <span class="unseen">plot</span>
            <Axis scale={scale} sign />
          </th>
          <th scope="col">difference</th>
        </tr>
      </thead>
      <tbody>
        {baseline.rows.map((row, index) => {
          const shown = armNamed(arms, row.arm);
          return (
            <tr key={index}>
              <th scope="row">
                <ArmName arm={shown} />
                {row.against === baseline.name ? null : (
                  <>
                    <br />
                    <span class="soft">
                      minus <bdi>{row.against}</bdi>
                    </span>
                  </>
                )}
              </th>
              <td class="plotted">
                <Estimate estimate={row.difference} scale={scale} arm={shown} />
              </td>
              <td>
                <b>{row.difference.text}</b> <span class="soft whole">({row.difference.interval})</span>
                <br />
                <span class="soft">
                  {row.significant ? "differs" : "no significant difference"}, p = {row.p}
                  {row.only && row.sampled ? (
                    <>
                      , better on {row.only[0]} {row.only[0] === 1 ? "problem" : "problems"}, worse on {row.only[1]}
                    </>
                  ) : row.only ? (
                    <>
                      , {row.only[0]} solved only by <bdi>{shown.name}</bdi>, {row.only[1]} only by <bdi>{row.against}</bdi>
                    </>
                  ) : null}
                </span>
              </td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
