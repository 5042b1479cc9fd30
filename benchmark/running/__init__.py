"""Running a suite: plan, read, explain, judge, record."""
