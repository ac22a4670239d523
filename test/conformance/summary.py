"""summary.py JUNIT_XML...: prints what did not pass and how many did; exit 0 only when every test passed."""

import sys
import xml.etree.ElementTree as ElementTree

OUTCOMES = {"failure": "failed", "error": "failed", "skipped": "skipped"}
counts = {"passed": 0, "failed": 0, "skipped": 0}
for path in sys.argv[1:]:
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        outcome = next((OUTCOMES[child.tag] for child in case if child.tag in OUTCOMES), "passed")
        counts[outcome] += 1
        if outcome != "passed":
            print(f"{outcome}: {case.get('classname')}.{case.get('name')}")
print("tuf-conformance: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
sys.exit(0 if counts["passed"] > 0 and counts["failed"] == counts["skipped"] == 0 else 1)
