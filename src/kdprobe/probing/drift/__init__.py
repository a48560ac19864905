"""Drift: how far students' next-token distributions moved from the untrained model's, without labels."""
