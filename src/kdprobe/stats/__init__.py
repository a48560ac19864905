"""Statistics: every interval and every test has its one home here; nothing here knows what was measured."""
