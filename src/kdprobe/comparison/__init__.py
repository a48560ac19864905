"""Comparison: answers judged, students compared problem by problem, findings, and a verdict that stays honest."""
