-- What an escalation was taken for is shown with what it was found by.

ALTER TABLE escalation ADD COLUMN why TEXT NOT NULL DEFAULT '';
