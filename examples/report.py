"""Prints what the feedback run found, and how right it was against the labels."""

import json
import sys


def main():
    document = json.load(open(sys.argv[1], encoding="utf-8"))
    labels = json.load(open(sys.argv[2], encoding="utf-8"))
    if document["state"] != "succeeded":
        sys.exit(f"the run ended {document['state']}: {document['reason']}")
    answers = next(step["output"] for step in document["steps"] if step["id"] == 3)
    right = sum(answer == label for answer, label in zip(answers, labels, strict=True))
    print(document["answer"]["text"])
    print(f"accuracy against the labels: {right} of {len(labels)} ({right / len(labels):.0%})")
    for role, usage in document["usage"].items():
        if usage["calls"]:
            cost = "unknown" if usage["usd"] is None else f"${usage['usd']:.6f}"
            tokens = f"{usage['input_tokens']} tokens in, {usage['output_tokens']} out"
            print(f"{role}: {usage['calls']} calls, {tokens}, cost {cost}")
    timings = ", ".join(f"{name[:-3]} {ms / 1000:.1f} s" for name, ms in document["timings"].items())
    print(timings)


main()
