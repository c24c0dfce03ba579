import { expect, test } from "vitest";
import { SseReader } from "../src/api/sse";

/** The same text in pieces of every size gives the same events. */
test("events are read however they arrive", () => {
  const text = ': heartbeat\n\nid: 7\ndata: {"kind":\r\ndata: 1}\r\n\r\nid: 8\ndata:x\n\nevent: resume\ndata: come back\n\ndata: not whole';
  for (let size = 1; size <= text.length; size++) {
    const reader = new SseReader();
    const events = [];
    for (let at = 0; at < text.length; at += size) events.push(...reader.push(text.slice(at, at + size)));
    expect(events, `in pieces of ${size}`).toEqual([
      { id: "7", data: '{"kind":\n1}' },
      { id: "8", data: "x" },
    ]);
  }
});

test("a line without an end is refused", () => {
  expect(() => new SseReader().push("x".repeat(2 << 20))).toThrow("longer than 1 MiB");
});
