"""Prints the answer of each document in a file of batch results."""

import json
import sys

with open(sys.argv[1], encoding="utf-8") as results:
    for document in map(json.loads, results):
        answer = document["answer"]
        text = answer if isinstance(answer, str) else answer["value"]["csv"]
        print(f"\n{document['custom_id']}: {document['state']} in {document['timings']['total_ms']} ms\n{text}")
