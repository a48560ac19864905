"""Stages that are divided into parts, which executors can run at the same time, and a stage that joins them."""
