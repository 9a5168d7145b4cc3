"""``lethe demo``: wrong labels corrected and a person's rows deleted, measured from outside."""
