"""Prints "PASSED FAILED SKIPPED" for a JUnit XML file; a test that fails and whose teardown fails too counts once."""

import sys
import xml.etree.ElementTree as ElementTree


def main(path):
    outcome = {}
    for case in ElementTree.parse(path).iter("testcase"):
        name = (case.get("classname"), case.get("name"))
        tags = {child.tag for child in case}
        if tags & {"failure", "error"}:
            outcome[name] = "failed"
        elif outcome.get(name) != "failed":
            outcome[name] = "skipped" if "skipped" in tags else "passed"
    counted = list(outcome.values())
    print(*(counted.count(word) for word in ("passed", "failed", "skipped")))


main(sys.argv[1])
