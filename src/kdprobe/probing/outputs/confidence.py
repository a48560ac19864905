"""The analysis `confidence`: is a student more confident in its correct answers than in its wrong ones?"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from kdprobe.probing.analysis import AnalysisContext, AnalysisResult, Figure
from kdprobe.probing.options import ConfidenceOptions
from kdprobe.probing.outputs.token_confidence import MEASURES, answer_confidence
from kdprobe.stats.calibration import Bin, auroc, auroc_interval, calibration_error, reliability

TITLES = {
    "max_logit": ("Largest logit", "mean over tokens"),
    "max_probability": ("Largest probability", "mean over tokens"),
    "entropy": ("Entropy of the next token", "nats, mean over tokens"),
    "margin": ("Margin between the two most likely tokens", "probability, mean over tokens"),
}
_CALIBRATED = "max_probability"


class ConfidenceAnalysis:
    """Relates the per-token confidence of the evaluation's answers to their correctness."""

    def __init__(self, options: ConfidenceOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Runs every student on its own answers, in float32."""
        frames, rows, bins = [], [], {}
        for student in context.students:
            records = {record["id"]: record for record in context.records[student.name]}
            answers = [records[problem.id] for problem in context.problems]
            confidences = answer_confidence(
                context.pool.loaded(student),
                context.problems,
                answers,
                batch_size=context.batch_size,
                label=f"Confidence of {student.name}",
            )
            frame = _frame(student.name, answers, [asdict(confidence) for confidence in confidences])
            frames.append(frame)
            measured = frame.dropna(subset=[*MEASURES])
            bins[student.name] = reliability(
                measured[_CALIBRATED].to_numpy(float), measured["correct"].to_numpy(bool), self.options.bins
            )
            rows += [_row(measured, student.name, measure, context.seed, bins[student.name]) for measure in MEASURES]
        answers_table, summary = pd.concat(frames, ignore_index=True), pd.DataFrame(rows)
        return AnalysisResult(
            tables={"answers": answers_table, "confidence": summary, "reliability": _reliability_table(bins)},
            figures=[*(_box(answers_table, measure) for measure in MEASURES), _reliability_figure(bins)],
            statements=_statements(answers_table, rows),
            summary={
                "auroc": [{key: row[key] for key in ("student", "measure", "auroc", "low", "high")} for row in rows]
            },
        )


def build(options: ConfidenceOptions) -> ConfidenceAnalysis:
    """The analysis."""
    return ConfidenceAnalysis(options)


def _frame(
    student: str, records: Sequence[Mapping[str, Any]], confidences: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    frame = pd.DataFrame(confidences)
    frame.insert(0, "student", student)
    frame.insert(1, "problem", [record["id"] for record in records])
    frame.insert(2, "correct", [bool(record["correct"]) for record in records])
    frame.insert(3, "cut_off", [bool(record["cut_off"]) for record in records])
    frame.insert(4, "written_tokens", [record["tokens"] for record in records])
    return frame


def _row(answers: pd.DataFrame, student: str, measure: str, seed: int, bins: list[Bin]) -> dict[str, Any]:
    values, correct = answers[measure].to_numpy(float), answers["correct"].to_numpy(bool)
    # Low entropy is confidence.
    confidence = -values if measure == "entropy" else values
    interval = auroc_interval(confidence, correct, seed)
    return {
        "student": student,
        "measure": measure,
        "answers": len(values),
        "right": int(correct.sum()),
        "mean_right": float(values[correct].mean()) if correct.any() else np.nan,
        "mean_wrong": float(values[~correct].mean()) if (~correct).any() else np.nan,
        "auroc": auroc(confidence, correct),
        "low": interval.low,
        "high": interval.high,
        "calibration_error": calibration_error(bins) if measure == _CALIBRATED and len(values) else np.nan,
    }


def _statements(answers: pd.DataFrame, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    sentences = []
    for row in rows:
        if row["measure"] != _CALIBRATED:
            continue
        if np.isnan(row["auroc"]):
            alike = f"{_all(row['answers'])} {'correct' if row['right'] else 'wrong'}"
            sentences.append(
                f"{row['student']}: {alike}, so confidence cannot be compared between correct and wrong answers."
            )
            continue
        sentences.append(
            f"{row['student']}: in {row['auroc']:.0%} of pairs of a correct and a wrong answer, the student is more "
            "confident in the correct one, as measured by the mean probability of the most probable token (AUROC "
            f"{row['auroc']:.2f}, {row['low']:.2f} to {row['high']:.2f}; 0.5 is chance). In bins of confidence, this "
            f"probability differs from accuracy by {row['calibration_error']:.2f} on average over {row['answers']} "
            "answers (calibration error)."
        )
    changed = int((answers["tokens"] != answers["written_tokens"]).sum())
    if changed:
        have, its = ("has", "its") if changed == 1 else ("have", "their")
        sentences.append(
            f"{changed} of {len(answers)} answers {have} a different number of tokens when {its} text is tokenised "
            "again."
        )
    return sentences


def _all(answers: int) -> str:
    return "the only answer is" if answers == 1 else f"all {answers} answers are"


def _reliability_table(bins: Mapping[str, list[Bin]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"student": name, "bin": index, **asdict(bin_)}
            for name, student_bins in bins.items()
            for index, bin_ in enumerate(student_bins, start=1)
        ]
    )


def _box(answers: pd.DataFrame, measure: str) -> Figure:
    title, unit = TITLES[measure]
    figure = go.Figure()
    for correct, name in ((True, "correct"), (False, "wrong")):
        rows = answers[answers["correct"] == correct].dropna(subset=[measure])
        figure.add_box(
            x=[html.escape(student) for student in rows["student"]],
            y=rows[measure].tolist(),
            name=name,
            boxpoints="all",
            jitter=0.4,
            pointpos=0,
        )
    figure.update_layout(boxmode="group", yaxis_title=unit, xaxis={"type": "category"})
    return Figure(f"{title}: correct and wrong answers compared", "Each point is an answer.", figure.to_plotly_json())


def _reliability_figure(bins: Mapping[str, list[Bin]]) -> Figure:
    figure = go.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot", "color": "grey"}, name="calibrated")
    for name, student_bins in bins.items():
        filled = [bin_ for bin_ in student_bins if bin_.answers]
        figure.add_scatter(
            x=[bin_.confidence for bin_ in filled],
            y=[bin_.accuracy for bin_ in filled],
            mode="lines+markers",
            name=name,
        )
    figure.update_layout(xaxis_title="mean largest probability", yaxis_title="share of correct answers")
    caption = "Answers in bins of confidence; on the dotted line, confidence equals the share of correct answers."
    return Figure("Calibration", caption, figure.to_plotly_json())
