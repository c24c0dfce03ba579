/** What of the graph is in sight: panning, zooming, and going from box to box by keys. */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Drawn } from "../../model/group";
import { BOX_H, BOX_W, type Edge, type Layout, type Place } from "../../model/layout";

const SCALE_MIN = 0.02;
const SCALE_MAX = 1.6;
/** Smaller than this a first look shows the beginning instead of everything. */
const FIRST_SCALE_MIN = 0.6;
/** Beyond what is in sight, so that panning shows no gaps. */
const MARGIN = 120;

export type Direction = "before" | "after" | "up" | "down";

export function useView(layout: Layout, shape: string) {
  const at = useSignal({ x: 0, y: 0, k: 1 });
  const size = useSignal({ w: 900, h: 600 });
  const element = useRef<HTMLDivElement>(null);
  const moved = useRef(false);
  const wanted = useRef<string | null>(null);
  const current = useRef(layout);
  current.current = layout;

  const show = (least: number) => {
    const { w, h } = size.peek();
    const whole = Math.min(w / current.current.w, h / current.current.h, 1);
    const k = Math.max(whole, least);
    const y = current.current.h * k < h ? (h - current.current.h * k) / 2 : 0;
    at.value = { x: current.current.w * k < w ? (w - current.current.w * k) / 2 : 0, y, k };
  };
  const fit = () => show(SCALE_MIN);
  const zoom = (by: number, x = size.peek().w / 2, y = size.peek().h / 2) => {
    const old = at.peek();
    const k = Math.min(SCALE_MAX, Math.max(SCALE_MIN, old.k * by));
    moved.current = true;
    at.value = { k, x: x - ((x - old.x) / old.k) * k, y: y - ((y - old.y) / old.k) * k };
  };
  const pan = (dx: number, dy: number) => {
    moved.current = true;
    const old = at.peek();
    at.value = { ...old, x: old.x + dx, y: old.y + dy };
  };

  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => {
      if (!entry) return;
      size.value = { w: entry.contentRect.width, h: entry.contentRect.height };
      if (!moved.current) show(FIRST_SCALE_MIN);
    });
    if (element.current) watch.observe(element.current);
    return () => watch.disconnect();
  }, [element.current]);
  // A plan that grows stays whole in sight until somebody has moved it.
  useEffect(() => {
    if (!moved.current) show(FIRST_SCALE_MIN);
  }, [shape]);
  useEffect(() => {
    // The wheel pans as it scrolls elsewhere; with Ctrl, as pinching says it, it zooms.
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      if (!event.ctrlKey && !event.metaKey) return pan(-event.deltaX, -event.deltaY);
      const rect = element.current!.getBoundingClientRect();
      zoom(Math.exp(-event.deltaY / 300), event.clientX - rect.left, event.clientY - rect.top);
    };
    const canvas = element.current;
    canvas?.addEventListener("wheel", wheel, { passive: false });
    return () => canvas?.removeEventListener("wheel", wheel);
  }, [element.current]);
  useEffect(() => {
    if (!wanted.current) return;
    element.current?.querySelector<HTMLElement>(`[data-key="${wanted.current}"]`)?.focus({ preventScroll: true });
    wanted.current = null;
  });

  const walk = (drawn: Drawn, key: string, to: Direction) => {
    const next = neighbour(drawn, current.current, key, to);
    if (!next) return;
    wanted.current = next.key;
    const { w, h } = size.peek();
    const { x, y, k } = at.peek();
    const [px, py] = [next.x * k + x, next.y * k + y];
    const outside = px < 0 || py < 0 || px + BOX_W * k > w || py + BOX_H * k > h;
    moved.current = true;
    at.value = outside ? { k, x: w / 2 - (next.x + BOX_W / 2) * k, y: h / 2 - (next.y + BOX_H / 2) * k } : { x, y, k };
  };

  return {
    at, element, fit, zoom, walk,
    handlers: { ...useDrag(pan), onKeyDown: (event: KeyboardEvent) => keys(event, zoom, fit) },
    style: () => ({ transform: `translate(${at.value.x}px, ${at.value.y}px) scale(${at.value.k})` }),
    /** Whether a box or an edge is in sight. */
    seen: () => {
      const { x, y, k } = at.value;
      const [x0, y0] = [(-x - MARGIN) / k, (-y - MARGIN) / k];
      const [x1, y1] = [(size.value.w - x + MARGIN) / k, (size.value.h - y + MARGIN) / k];
      return {
        box: (place: Place) => place.x < x1 && place.x + BOX_W > x0 && place.y < y1 && place.y + BOX_H > y0,
        edge: (edge: Edge) => edge.x0 < x1 && edge.x1 > x0 && edge.y0 < y1 && edge.y1 > y0,
      };
    },
  };
}

function keys(event: KeyboardEvent, zoom: (by: number) => void, fit: () => void) {
  if (event.ctrlKey || event.metaKey) return;
  if (event.key === "+" || event.key === "=") zoom(1.3);
  else if (event.key === "-") zoom(1 / 1.3);
  else if (event.key === "0") fit();
  else return;
  event.preventDefault();
}

/** Drags with one pointer. A press that does not move stays a click. */
function useDrag(pan: (dx: number, dy: number) => void) {
  const last = useRef<{ x: number; y: number; id: number; dragging: boolean } | null>(null);
  return {
    onPointerDown: (event: PointerEvent) => {
      if (event.button === 0) last.current = { x: event.clientX, y: event.clientY, id: event.pointerId, dragging: false };
    },
    onPointerMove: (event: PointerEvent) => {
      const from = last.current;
      if (!from || from.id !== event.pointerId) return;
      const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
      if (!from.dragging && Math.hypot(dx, dy) < 4) return;
      if (!from.dragging) (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
      last.current = { x: event.clientX, y: event.clientY, id: event.pointerId, dragging: true };
      pan(dx, dy);
    },
    onPointerUp: () => (last.current = null),
    onPointerCancel: () => (last.current = null),
  };
}

function neighbour(drawn: Drawn, layout: Layout, key: string, to: Direction): Place | null {
  const here = layout.places.get(key)!;
  const all = [...layout.places.values()];
  const joined = (place: Place) => {
    if (to === "before") return drawn.boxes.get(key)!.before.includes(place.key);
    if (to === "after") return drawn.boxes.get(place.key)!.before.includes(key);
    const column = Math.abs(place.x - here.x) < BOX_W / 2;
    return column && (to === "up" ? place.y < here.y : place.y > here.y);
  };
  const far = (place: Place) => Math.hypot(place.x - here.x, place.y - here.y);
  const near = all.filter((place) => place.key !== key && joined(place)).sort((a, b) => far(a) - far(b));
  return near[0] ?? null;
}
