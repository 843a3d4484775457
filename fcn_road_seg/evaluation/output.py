"""The names of the files that an evaluation writes."""

REPORT_NAME = 'report.json'
SUBMISSION_NAME = 'road_submission.zip'
